"""Sources: the files that a KerasModel names by address. One module per scheme; `registry` lists them."""
