"""Builders that several components and tasks share: metadata, containers and pods as plain dicts, without I/O."""
