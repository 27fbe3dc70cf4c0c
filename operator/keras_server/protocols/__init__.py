"""Protocols: pure functions between the bytes of a request or a response and arrays."""
