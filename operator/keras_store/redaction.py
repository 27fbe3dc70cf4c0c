"""Removes secrets from URLs and texts that go into logs, status and HTTP errors."""

from __future__ import annotations

import re

_SECRETS_IN_URL = re.compile(r"^(https?://)(?:[^/?#]*@)?([^?#]*).*", re.DOTALL)
_QUERY_IN_TEXT = re.compile(r"\?[^\s\"'<>]+")


def public_url(url: str) -> str:
    """A URL without the parts that may be secret: user, password, query and fragment."""
    return _SECRETS_IN_URL.sub(r"\1\2", url)


def public_text(text: str) -> str:
    """A text of another program without the queries of the URLs in it, which may be secret."""
    return _QUERY_IN_TEXT.sub("", text)
