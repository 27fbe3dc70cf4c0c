"""How clients get access to the artifact store: names that the operator, the clients and the embedded store share."""

AUDIENCE = "keras-store"
"""Audience of the ServiceAccount tokens that may read and write bundles."""
READ_SUFFIX = "-read"
"""The audience with this suffix is that of tokens that may only read."""
TOKEN_FILE_VARIABLE = "KERAS_STORE_TOKEN_FILE"  # noqa: S105 - the name of a variable
"""Environment variable with the path of the client's token for the embedded store."""
STORE_PREFIX = "STORE_"
"""Prefix of the environment variables with the credentials and options of an S3 store (STORE_AWS_ACCESS_KEY_ID, ...);
it separates them from those of a source."""
