"""Where files live: sources are fingerprinted and fetched, bundles put and got; and the embedded artifact store."""
