"""The state of one model at one moment."""
