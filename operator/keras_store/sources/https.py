"""``https://host/path`` and ``http://host/path``: files of web servers, and objects by signed URL."""

from __future__ import annotations

import base64
from collections.abc import Mapping

from keras_api.resource import cel, cel_string
from keras_store.credentials import pair
from keras_store.sources.base import Access, Address, Scheme, SourceFile
from keras_store.storage.https import HttpStorage, url_of

_BEARER_TOKEN, _USERNAME, _PASSWORD = "HTTP_BEARER_TOKEN", "HTTP_USERNAME", "HTTP_PASSWORD"

# A name, an IPv4 or an IPv6 address, and a port up to 65535.
_HOST_PATTERN = (
    r"^https?://(\[[0-9a-fA-F:.]+\]|[^/:@]+)"
    r"(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?/"
)


def _open(address: Address, access: Access) -> SourceFile:
    if "@" in address.host:
        raise ValueError("it must not contain credentials: put them into the Secret of spec.source.secretRef")
    url_of(address.uri)  # raises ValueError
    headers = _authorization(access.credentials)
    storage = HttpStorage(address.uri, headers=lambda: headers, timeouts=access.timeouts, use_proxy=True)
    return SourceFile(storage, "")


def _authorization(credentials: Mapping[str, str]) -> dict[str, str]:
    if token := credentials.get(_BEARER_TOKEN):
        return {"Authorization": f"Bearer {token}"}
    if login := pair(credentials, _USERNAME, _PASSWORD):
        return {"Authorization": f"Basic {base64.b64encode(':'.join(login).encode()).decode()}"}
    return {}


HTTP = Scheme(
    pattern="https?",
    forms=("https://host/path", "http://host/path"),
    rules=(
        cel(
            "!self.matches('^https?://[^/?#]*@')",
            "must not hold credentials: put them into a Secret and name it in spec.source.secretRef",
        ),
        cel(
            f"!self.matches('^https?://[^/@]+/') || self.matches({cel_string(_HOST_PATTERN)})",
            "must be a URL whose port, if it has one, is a number from 1 to 65535",
        ),
    ),
    credential_keys=(_BEARER_TOKEN, _USERNAME, _PASSWORD),
    credentials_help=f"{_BEARER_TOKEN}, or {_USERNAME} and {_PASSWORD}, for http(s)",
    open=_open,
)
