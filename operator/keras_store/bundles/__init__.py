"""Bundles in the artifact store, as the store's clients use it."""
