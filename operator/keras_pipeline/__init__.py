"""Steps that run to completion: `prepare` turns a Keras file into a verified bundle.

No other package imports Keras.
"""
