"""What is known about one model at one moment."""
