"""Control plane: watches KerasModels, decides which objects should exist, applies them, and reports the result."""
