"""Steps that run to completion. The only package that imports Keras."""
