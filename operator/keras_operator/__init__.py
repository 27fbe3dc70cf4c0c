"""Control plane: watches KerasModels, decides what should exist, applies it, and reports what it saw."""
