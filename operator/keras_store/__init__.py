"""Files outside the process: sources of models, bundles in the artifact store, and the embedded artifact store."""
