"""Data plane: gets one bundle from its store and serves it; knows nothing of clusters or Keras."""
