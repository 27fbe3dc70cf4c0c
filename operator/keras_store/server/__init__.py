"""The embedded artifact store: an HTTP server for bundles on a disk, for clusters without an object store."""
