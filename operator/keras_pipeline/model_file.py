"""Reads a `.keras` or legacy `.h5` file without Keras: checks that it is complete, of its format, and safe to open.

Nothing in the file is executed, and memory is bounded whatever the file declares.
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
from keras_pipeline.errors import SAVE_AGAIN, PrepareError, unreadable_file, unsafe_file
from keras_pipeline.file_kind import HDF5, ZIP, identify
from keras_pipeline.legacy_config import modernize
from keras_pipeline.weights import Weights, read_weights

CONFIG, METADATA, WEIGHTS, ASSETS = "config.json", "metadata.json", "model.weights.h5", "assets/"

MAX_CONFIG_BYTES = 32 << 20  # json.loads needs about 10 times as much memory
MAX_METADATA_BYTES = 1 << 20
MAX_MEMBERS = 10_000
MAX_ASSETS_BYTES = 1 << 30  # Keras unpacks the assets to disk
CHUNK_BYTES = 1 << 20
# Keras stores members uncompressed, and compression of weights saves less than half. Small members have no limit,
# because a vocabulary of one repeated word compresses well.
MAX_RATIO = 100
RATIO_FREE_BYTES = 1 << 20

NO_MODEL = "set spec.source.uri to a file that model.save('name.keras') wrote"


@dataclass(frozen=True)
class ModelFile:
    """Content of a model file, without the values of the weights.

    Attributes:
        format: "keras" (zip) or "h5" (legacy HDF5).
        keras_version: version that saved the model; empty if the file does not contain it.
        config: the model's configuration, in the form that Keras 3 loads.
        weights: number and size of the stored weights.
        rewritten: whether `config` was rewritten, so that Keras must not read it from the file.
    """

    format: Literal["keras", "h5"]
    keras_version: str
    config: dict[str, Any]
    weights: Weights
    rewritten: bool = False


def read_model_file(path: Path) -> ModelFile:
    """Read and check a model file.

    Raises:
        PrepareError: MODEL_UNREADABLE if the file is not a complete Keras model, with its actual kind;
            MODEL_UNSAFE if opening the file could exhaust memory or read other files;
            MODEL_UNSUPPORTED if it has a setting of Keras 2 that Keras 3 does not have, or weights that are NaN.
    """
    kind = identify(path)
    if kind == ZIP and path.suffix == ".keras":
        return _read_zip(path)
    if kind == HDF5 and path.suffix == ".h5":
        return _read_hdf5(path)
    if kind == HDF5:
        raise unreadable_file("it is an HDF5 file (the legacy format): its address must end in .h5")
    if kind == ZIP:
        raise unreadable_file("it is a zip archive (the .keras format): its address must end in .keras")
    raise unreadable_file(f"it is {kind.description}, not a Keras model: {NO_MODEL}")


def _read_zip(path: Path) -> ModelFile:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        size = path.stat().st_size
        raise unreadable_file(
            f"it begins like a .keras file, but its {size:,} bytes end before the directory of the zip archive: "
            f"the upload is incomplete; {SAVE_AGAIN}"
        ) from error
    with archive:
        members = _checked_members(archive)
        config = _json_object(_read_member(archive, members[CONFIG], MAX_CONFIG_BYTES), CONFIG)
        metadata = {}
        if METADATA in members:
            metadata = _json_object(_read_member(archive, members[METADATA], MAX_METADATA_BYTES), METADATA)
        with _weights_file(path, archive, members[WEIGHTS]) as file, _open_hdf5(file, f"its {WEIGHTS}") as weights:
            counted = read_weights(weights, members[WEIGHTS].file_size)
            return _model_file("keras", metadata.get("keras_version"), config, counted)


def _checked_members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > MAX_MEMBERS:
        raise unsafe_file(f"the archive has {len(infos):,} members, more than the {MAX_MEMBERS:,} allowed")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = info.filename
        if name in members:
            raise unsafe_file(f"the archive contains {name!r} twice")
        if name.startswith(("/", "\\")) or ":" in name or ".." in name.replace("\\", "/").split("/"):
            raise unsafe_file(f"its member {name!r} would be unpacked outside its folder")
        if info.flag_bits & 1:
            raise unreadable_file(f"its member {name!r} is encrypted: {SAVE_AGAIN}")
        if info.file_size > max(RATIO_FREE_BYTES, MAX_RATIO * info.compress_size):
            raise unsafe_file(
                f"its member {name!r} of {info.compress_size:,} bytes would unpack to {info.file_size:,} bytes"
            )
        members[name] = info
    assets = sum(info.file_size for name, info in members.items() if name.startswith(ASSETS))
    if assets > MAX_ASSETS_BYTES:
        raise unsafe_file(f"its assets would unpack to {assets:,} bytes, more than the {MAX_ASSETS_BYTES:,} allowed")
    if "saved_model.pb" in {name.rsplit("/", 1)[-1] for name in members}:
        raise unreadable_file(f"it is a zipped SavedModel, not a Keras model: {NO_MODEL}")
    if any(name.endswith("data.pkl") for name in members):
        raise unreadable_file(f"it is a PyTorch checkpoint, not a Keras model: {NO_MODEL}")
    if CONFIG not in members:
        raise unreadable_file(f"it is a zip archive without {CONFIG}, not a Keras model: {SAVE_AGAIN}")
    if WEIGHTS not in members:
        other = next((name for name in members if name.startswith("model.weights.")), None)
        if other:
            raise PrepareError(
                Reason.MODEL_UNSUPPORTED, f"the weights are stored as {other}, not {WEIGHTS}: {SAVE_AGAIN}"
            )
        raise unreadable_file(f"the archive does not contain {WEIGHTS}: {SAVE_AGAIN}")
    foreign = [name for name in members if name not in {CONFIG, METADATA, WEIGHTS} and not name.startswith(ASSETS)]
    if foreign:
        raise unsafe_file(f"the archive contains {foreign[0]!r}, which is not part of a .keras file")
    return members


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limit: int) -> bytes:
    if info.file_size > limit:
        raise unsafe_file(f"its {info.filename} has {info.file_size:,} bytes, more than the {limit:,} allowed")
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise unreadable_file(f"its {info.filename} is damaged ({error}): {SAVE_AGAIN}") from error


@contextmanager
def _weights_file(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[BinaryIO]:
    """The weights as a seekable file: a window on the archive if they are stored uncompressed, else a copy."""
    try:
        # zipfile checks the local header and checksum of a member that is read to its end.
        with archive.open(info) as member, path.open("rb") as file, tempfile.TemporaryFile() as copy:
            if info.compress_type == zipfile.ZIP_STORED:
                while member.read(CHUNK_BYTES):
                    pass
                yield io.BufferedReader(_Window(file, _data_offset(file, info), info.file_size))
            else:
                shutil.copyfileobj(member, copy, CHUNK_BYTES)
                yield copy
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise unreadable_file(f"its {WEIGHTS} is damaged ({error}): {SAVE_AGAIN}") from error


def _data_offset(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Offset of a member's data, after its local header, whose extra field may differ from the directory's."""
    file.seek(info.header_offset + 26)
    name_length, extra_length = (int.from_bytes(file.read(2), "little") for _ in range(2))
    return info.header_offset + 30 + name_length + extra_length


class _Window(io.RawIOBase):
    """A part of a file as a read-only file."""

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
    with path.open("rb") as file, _open_hdf5(file, "it") as hdf5:
        config = hdf5.attrs.get("model_config")
        if config is None:
            raise unreadable_file(
                "it contains weights only, not the model's configuration: use model.save, not save_weights"
            )
        text = config if isinstance(config, bytes) else str(config).encode()
        if len(text) > MAX_CONFIG_BYTES:
            raise unsafe_file(f"its model_config has {len(text):,} bytes, more than the {MAX_CONFIG_BYTES:,} allowed")
        if "model_weights" not in hdf5:
            raise unreadable_file(f"it does not contain weights (model_weights): {SAVE_AGAIN}")
        version = hdf5.attrs.get("keras_version")
        version = version.decode("utf-8", "replace") if isinstance(version, bytes) else version
        weights = read_weights(hdf5, path.stat().st_size)
        return _model_file("h5", version, _json_object(text, "model_config"), weights)


def _model_file(
    file_format: Literal["keras", "h5"], keras_version: object, config: dict[str, Any], weights: Weights
) -> ModelFile:
    version = keras_version[:32] if isinstance(keras_version, str) else ""
    rewritten = modernize(config, version, file_format)
    return ModelFile(file_format, version, config, weights, rewritten)


@contextmanager
def _open_hdf5(file: BinaryIO, name: str) -> Iterator[h5py.File]:
    try:
        hdf5 = h5py.File(file, "r")
    except (OSError, RuntimeError, ValueError) as error:
        # A message of HDF5 has the cause in brackets.
        cause = str(error).partition("(")[2].removesuffix(")") or str(error)
        raise unreadable_file(f"{name} is not a complete HDF5 file ({cause}): {SAVE_AGAIN}") from error
    with hdf5:
        try:
            yield hdf5
        except (OSError, RuntimeError, KeyError) as error:
            raise unreadable_file(f"{name} is damaged ({error}): {SAVE_AGAIN}") from error


def _json_object(data: bytes, name: str) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise unreadable_file(f"its {name} is not valid JSON ({error}): {SAVE_AGAIN}") from error
    if not isinstance(value, dict):
        raise unreadable_file(f"its {name} does not describe a model (it is {json.dumps(value)[:40]}): {SAVE_AGAIN}")
    return value
