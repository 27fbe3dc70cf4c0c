"""What the search tries: one module for each group of operations or layers, with a function `cases`."""
