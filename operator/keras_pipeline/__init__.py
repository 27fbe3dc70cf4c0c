"""Steps that run to completion: `prepare` turns a Keras file into a verified bundle.

The only package that imports Keras.
"""
