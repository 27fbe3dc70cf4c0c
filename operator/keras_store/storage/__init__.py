"""Storage: files by path behind one protocol. Sources read from it; the artifact store also writes to it."""
