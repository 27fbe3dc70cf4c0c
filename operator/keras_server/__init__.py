"""Data plane: serves one bundle folder; knows nothing of stores, clusters or Keras."""
