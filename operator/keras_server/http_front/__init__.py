"""The HTTP front of the data plane."""
