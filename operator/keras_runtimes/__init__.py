"""Runtimes: load a bundle's model and run it on arrays. The prepare step checks parity on the classes that serve."""
