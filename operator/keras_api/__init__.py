"""Contracts that the other packages share: the KerasModel resource, the bundle's manifest, the step report."""

__version__ = "0.1.0"
