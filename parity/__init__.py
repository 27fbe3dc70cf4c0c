"""The parity search: builds a small model of every layer and operation of Keras, and compares both runtimes with it."""
