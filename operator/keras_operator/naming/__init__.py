"""Labels, names and sizes that every layer above shares."""
