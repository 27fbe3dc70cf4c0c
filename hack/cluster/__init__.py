"""A real single-node Kubernetes on this machine, built from source; the standard library only (see README.md)."""
