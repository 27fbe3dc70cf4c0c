"""Requests beyond the watch: the source, the store, Events and logs."""
