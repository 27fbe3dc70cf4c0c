"""Types that the other packages share: the KerasModel resource, the bundle manifest, requests and reports of steps."""

__version__ = "0.1.0"
