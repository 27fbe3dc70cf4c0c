"""The protocols that the server speaks over HTTP: a protocol is one module, and one entry in `PROTOCOLS`."""

from __future__ import annotations

from keras_server.protocols import oip, tfserving

PROTOCOLS = (oip.PROTOCOL, tfserving.PROTOCOL)


def version_names(revision: str) -> tuple[str, ...]:
    """The names that protocols have for a revision, besides the revision itself."""
    return tuple(dict.fromkeys(name for p in PROTOCOLS if (name := p.version_name(revision)) != revision))
