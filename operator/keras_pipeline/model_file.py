"""Reads a `.keras` or legacy `.h5` file without Keras: is it whole, is it what its name says, is it safe to open?

Nothing here executes what the file holds, and memory is bounded whatever the file claims.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import h5py

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError
from keras_pipeline.weights import Weights, read_weights

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"

MAX_CONFIG_BYTES = 32 << 20  # json.loads needs some 10 times as much memory
MAX_METADATA_BYTES = 1 << 20
MAX_MEMBERS = 10_000
MAX_ASSETS_BYTES = 1 << 30  # which Keras unpacks to disk
CHUNK_BYTES = 1 << 20
# Keras stores members uncompressed; who zips again gains less than a factor of 2 on weights. Small members may be
# anything: a vocabulary of one repeated word compresses well.
MAX_RATIO = 100
RATIO_FREE_BYTES = 1 << 20

SAVE_AGAIN = "save it again with model.save('name.keras') and upload the whole file"
NO_MODEL = "let spec.source.uri lead to a file that model.save('name.keras') wrote"


@dataclass(frozen=True)
class ModelFile:
    """What a model file says about itself.

    Attributes:
        format: "keras" (zip) or "h5" (legacy HDF5).
        keras_version: version that saved it; empty when the file does not say.
        config: the model's configuration, as Keras serialised it.
        weights: what is known of the stored weights.
    """

    format: Literal["keras", "h5"]
    keras_version: str
    config: dict[str, Any]
    weights: Weights


def read_model_file(path: Path) -> ModelFile:
    """Read a model file's description.

    Raises:
        PrepareError: MODEL_UNREADABLE when the file is not a whole Keras model, saying what it is instead;
            MODEL_UNSAFE when opening it could exhaust memory or reach outside the file.
    """
    kind = identify(path)
    if kind == "a zip archive" and path.suffix == ".keras":
        return _read_zip(path)
    if kind == "an HDF5 file" and path.suffix == ".h5":
        return _read_hdf5(path)
    if kind == "an HDF5 file":
        raise _unreadable("it is an HDF5 file (the legacy format): give its address the ending .h5")
    if kind == "a zip archive":
        raise _unreadable("it is a zip archive (the .keras format): give its address the ending .keras")
    raise _unreadable(f"it is {kind}, not a Keras model: {NO_MODEL}")


PLAIN_TEXT = "plain text"


def identify(path: Path) -> str:
    """What a file is by its first bytes, in words: "a zip archive", "an HDF5 file", "an HTML page", ..."""
    with path.open("rb") as file:
        head = file.read(512)
    text = head.lstrip().lower()
    signatures: list[tuple[bool, str]] = [
        (not head, "empty"),
        (head.startswith(b"PK\x03\x04"), "a zip archive"),
        (head.startswith(b"\x89HDF\r\n\x1a\n"), "an HDF5 file"),
        (head.startswith(b"PK\x05\x06"), "an empty zip archive"),
        (head[:1] == b"\x80" and head[1:2] in {b"\x02", b"\x03", b"\x04", b"\x05"}, "a Python pickle"),
        (head.startswith(b"version https://git-lfs"), "a Git LFS pointer (the content was never pulled)"),
        (head.startswith(b"\x1f\x8b"), "a gzip file (unpack it)"),
        (head[4:8] == b"TFL3", "a TensorFlow Lite model"),
        (head.startswith(b"\x93NUMPY"), "a numpy array"),
        (head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < 1 << 30, "a safetensors file"),
        (head.startswith(b"\x89PNG\r\n\x1a\n"), "a PNG picture"),
        (head.startswith(b"\xff\xd8\xff"), "a JPEG picture"),
        (head.startswith(b"%PDF-"), "a PDF document"),
        (head.startswith(b"\x7fELF"), "a program"),
        (head.startswith((b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")), "a compressed file (unpack it)"),
        (head.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!")), "an archive of another kind (unpack it)"),
        (head[257:262] == b"ustar", "a tar archive (unpack it)"),
        (text.startswith((b"<!doctype html", b"<html")), "an HTML page (a login or error page?)"),
        (text.startswith(b"<?xml"), "an XML document (an error message of the storage?)"),
        (text.startswith((b"{", b"[")), "a JSON document (an error message of the storage?)"),
    ]
    if (found := next((name for matches, name in signatures if matches), None)) is not None:
        return found
    printable = all(byte >= 32 or byte in b"\t\r\n\f" for byte in head)
    return PLAIN_TEXT if printable else "of no known format, or truncated at the front"


def _read_zip(path: Path) -> ModelFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        size = path.stat().st_size
        raise _unreadable(
            f"it begins like a .keras file, but its {size:,} bytes end before the zip's directory: "
            f"the upload was cut off; {SAVE_AGAIN}"
        ) from error
    with archive:
        members = _checked_members(archive)
        config = _json_object(_read_member(archive, members[CONFIG], MAX_CONFIG_BYTES), CONFIG)
        metadata = {}
        if METADATA in members:
            metadata = _json_object(_read_member(archive, members[METADATA], MAX_METADATA_BYTES), METADATA)
        with _weights_file(path, archive, members[WEIGHTS]) as file, _open_hdf5(file, WEIGHTS) as weights:
            return ModelFile(
                "keras",
                _version(metadata.get("keras_version")),
                config,
                read_weights(weights, members[WEIGHTS].file_size),
            )


def _checked_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise _unsafe(f"the archive has {len(infos):,} members, more than {MAX_MEMBERS:,}")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        if name in members:
            raise _unsafe(f"the archive holds {name!r} twice")
        if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
            raise _unsafe(f"the archive's member {name!r} would be written outside of its folder")
        if info.flag_bits & 1:
            raise _unreadable(f"its member {name!r} is encrypted: {SAVE_AGAIN}")
        if info.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * info.compress_size):
            raise _unsafe(
                f"the archive's member {name!r} of {info.compress_size:,} bytes would unpack to {info.file_size:,}"
            )
        members[name] = info
    assets = sum(info.file_size for name, info in members.items() if name.startswith(ASSETS))
    if assets > MAX_ASSETS_BYTES:
        raise _unsafe(f"its assets would unpack to {assets:,} bytes, more than the {MAX_ASSETS_BYTES:,} allowed")
    if "saved_model.pb" in {name.rsplit("/", 1)[-1] for name in members}:
        raise _unreadable(f"it is a zipped SavedModel: load it where it was made and {SAVE_AGAIN}")
    if any(name.endswith("data.pkl") for name in members):
        raise _unreadable("it is a PyTorch checkpoint, not a Keras model")
    if CONFIG not in members:
        raise _unreadable(f"the zip has no {CONFIG}, so it is no Keras model: {SAVE_AGAIN}")
    if WEIGHTS not in members:
        other = next((name for name in members if name.startswith("model.weights.")), None)
        if other:
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED, f"the weights are stored as {other}: save the model with a single {WEIGHTS}"
            )
        raise _unreadable(f"the zip has no {WEIGHTS}: {SAVE_AGAIN}")
    foreign = [name for name in members if name not in {CONFIG, METADATA, WEIGHTS} and not name.startswith(ASSETS)]
    if foreign:
        raise _unsafe(f"the archive holds {foreign[0]!r}, which is no part of a .keras file")
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    if info.file_size > limit:
        raise _unsafe(f"{info.filename} has {info.file_size:,} bytes, more than the {limit:,} allowed")
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _unreadable(f"{info.filename} in it is damaged ({error}): {SAVE_AGAIN}") from error


@contextmanager
def _weights_file(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[BinaryIO]:
    """The weights as a file that can be read at any place: in the archive itself when they are stored uncompressed."""
    try:
        # Reading a member to its end makes zipfile check its local header and checksum.
        with archive.open(info) as member, path.open("rb") as file, tempfile.TemporaryFile() as copy:
            if info.compress_type == zipfile.ZIP_STORED:
                while member.read(CHUNK_BYTES):
                    pass
                yield io.BufferedReader(_Window(file, _data_offset(file, info), info.file_size))
            else:
                shutil.copyfileobj(member, copy, CHUNK_BYTES)
                yield copy
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise _unreadable(f"{WEIGHTS} in it is damaged ({error}): {SAVE_AGAIN}") from error


def _data_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where a member's data begins: behind its local header, whose extra field may differ from the directory's."""
    file.seek(info.header_offset + 26)
    name_length, extra_length = (int.from_bytes(file.read(2), "little") for _ in range(2))
    return info.header_offset + 30 + name_length + extra_length


class _Window(io.RawIOBase):
    """A part of a file, read-only, as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence] + offset
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        self._file.seek(self._start + self._at)
        data = self._file.read(max(0, min(len(buffer), self._size - self._at)))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)


def _read_hdf5(path: Path) -> ModelFile:
    with path.open("rb") as file, _open_hdf5(file, "the file") as hdf5:
        config = hdf5.attrs.get("model_config")
        if config is None:
            raise _unreadable("it holds weights only, not the model's configuration: use model.save, not save_weights")
        text = config if isinstance(config, bytes) else str(config).encode()
        if len(text) > MAX_CONFIG_BYTES:
            raise _unsafe(f"model_config has {len(text):,} bytes, more than the {MAX_CONFIG_BYTES:,} allowed")
        if "model_weights" not in hdf5:
            raise _unreadable(f"it has no weights (model_weights): {SAVE_AGAIN}")
        version = hdf5.attrs.get("keras_version")
        version = version.decode("utf-8", "replace") if isinstance(version, bytes) else version
        weights = read_weights(hdf5, path.stat().st_size)
        return ModelFile("h5", _version(version), _json_object(text, "model_config"), weights)


@contextmanager
def _open_hdf5(file: BinaryIO, what: str) -> Iterator[h5py.File]:
    try:
        hdf5 = h5py.File(file, "r")
    except (OSError, RuntimeError, ValueError) as error:
        # HDF5 says what it failed to do, and in brackets why.
        why = str(error).partition("(")[2].removesuffix(")") or str(error)
        raise _unreadable(f"{what} is not a whole HDF5 file ({why}): {SAVE_AGAIN}") from error
    with hdf5:
        try:
            yield hdf5
        except (OSError, RuntimeError, KeyError) as error:
            raise _unreadable(f"{what} is damaged ({error}): {SAVE_AGAIN}") from error


def _json_object(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise _unreadable(f"{name} in it is not valid JSON ({error}): {SAVE_AGAIN}") from error
    if not isinstance(value, dict):
        raise _unreadable(f"{name} in it does not describe a model (it is {json.dumps(value)[:40]}): {SAVE_AGAIN}")
    return value


def _version(value: object) -> str:
    return value[:32] if isinstance(value, str) else ""


def _unreadable(what: str) -> PrepareError:
    return PrepareError(Reason.MODEL_UNREADABLE, f"the model file cannot be read: {what}")


def _unsafe(what: str) -> PrepareError:
    return PrepareError(Reason.MODEL_UNSAFE, f"the model file was not loaded: {what}; {SAVE_AGAIN}")
