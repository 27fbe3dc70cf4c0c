"""Identifies a file by its first bytes, to describe a file that is not the expected one."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

HEAD_BYTES = 512


class FileKind(NamedTuple):
    """A kind of file."""

    description: str
    """A noun with its article, for error messages."""
    may_be_csv: bool = False
    """Whether a CSV file may begin like a file of this kind."""


ZIP = FileKind("a zip archive")
HDF5 = FileKind("an HDF5 file")


def identify(path: Path) -> FileKind:
    """The kind of a file."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    text = head.lstrip().lower()
    signatures: list[tuple[bool, FileKind]] = [
        (not head, FileKind("an empty file", may_be_csv=True)),
        (head.startswith(b"PK\x03\x04"), ZIP),
        (head.startswith(b"\x89HDF\r\n\x1a\n"), HDF5),
        (head.startswith(b"PK\x05\x06"), FileKind("an empty zip archive")),
        (head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}, FileKind("a Python pickle")),
        (head.startswith(b"version https://git-lfs"), FileKind("a Git LFS pointer (the content was not pulled)")),
        (head.startswith(b"\x1f\x8b"), FileKind("a gzip file (unpack it)")),
        (head[4:8] == b"TFL3", FileKind("a TensorFlow Lite model")),
        (head.startswith(b"\x93NUMPY"), FileKind("a NumPy array")),
        (head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 30, FileKind("a safetensors file")),
        (head.startswith(b"\x89PNG\r\n\x1a\n"), FileKind("a PNG image")),
        (head.startswith(b"\xff\xd8\xff"), FileKind("a JPEG image")),
        (head.startswith(b"%PDF-"), FileKind("a PDF document")),
        (head.startswith(b"\x7fELF"), FileKind("an executable program")),
        (head.startswith((b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")), FileKind("a compressed file (unpack it)")),
        (head.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!")), FileKind("a 7z or RAR archive (unpack it)")),
        (head[257:262] == b"ustar", FileKind("a tar archive (unpack it)")),
        (text.startswith((b"<!doctype html", b"<html")), FileKind("an HTML page (a login or error page?)")),
        (text.startswith(b"<?xml"), FileKind("an XML document (an error message of the storage?)")),
        # The name of the first column of a CSV file may be {x}.
        (text.startswith((b"{", b"[")), FileKind("a JSON document (an error message of the storage?)", True)),
        (all(byte >= 32 or byte in b"\t\r\n\f" for byte in head), FileKind("a plain text file", may_be_csv=True)),
    ]
    unknown = FileKind("a file of an unknown format, or one without its beginning", may_be_csv=True)
    return next((kind for matches, kind in signatures if matches), unknown)
