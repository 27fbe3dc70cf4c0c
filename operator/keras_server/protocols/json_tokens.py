"""The tokens NaN, Infinity and -Infinity, which are not JSON, but which Python and TensorFlow's clients write.

The JSON decoder rejects a body with such a token. Only then the body is decoded again, with each token outside of a
string replaced by an object, the *mark*, which `Token` reads as a number. Bodies without tokens cost nothing, and the
positions of all values stay the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Literal, TypeVar

import msgspec

T = TypeVar("T")

KEY = "\x7f"
"""Key of a mark: a control character, which no client uses as a key. A body with this string is not marked."""

_KEY = f'"{KEY}"'.encode()
_MARK = b"{" + _KEY + b":"
_MARKS = {b"-Infinity": b"-1", b"Infinity": b"1", b"NaN": b"0"}  # in this order: a token contains the next one
_VALUES = {0: math.nan, 1: math.inf, -1: -math.inf}
# A string to its end, or to the end of the text. The quantifiers never backtrack, so that the time is linear.
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)


class Token(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mark; `float` of it is the number that its token means."""

    kind: Literal[0, 1, -1] = msgspec.field(name=KEY)

    def __float__(self) -> float:
        """The number: NaN, infinity or minus infinity."""
        return _VALUES[self.kind]


def decode(decoder: Callable[[bytes | memoryview], T], text: bytes | memoryview) -> T:
    """Decode JSON; where that fails and the text has tokens, decode it again with marks for them.

    Raises:
        msgspec.DecodeError: the text is not what the decoder reads.
    """
    try:
        return decoder(text)
    except msgspec.DecodeError:
        marked = _mark(bytes(text))
        if marked is None:
            raise
    return decoder(marked)


def is_marked(raw: msgspec.Raw) -> bool:
    """Whether a JSON value contains marks."""
    return _MARK in bytes(raw)


def _mark(text: bytes) -> bytes | None:
    """The text with marks for its tokens; None if it has none."""
    if not any(token in text for token in _MARKS):
        return None
    parts: list[bytes] = []
    start = 0
    for string in _STRING.finditer(text):
        if string[0] == _KEY:
            return None
        parts += _mark_tokens(text[start : string.start()]), string[0]
        start = string.end()
    return b"".join([*parts, _mark_tokens(text[start:])])


def _mark_tokens(text: bytes) -> bytes:
    """Replace the tokens in a text without strings."""
    for token, kind in _MARKS.items():
        text = text.replace(token, _MARK + kind + b"}")
    return text
