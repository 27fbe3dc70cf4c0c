"""The informer cache: live objects, cut down to what the operator reads, and the listings that fill it."""
