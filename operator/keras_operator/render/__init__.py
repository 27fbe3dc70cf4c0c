"""The children of a KerasModel as plain dicts: one pure builder per kind, without I/O."""
