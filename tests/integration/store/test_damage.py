"""A bundle that a real store has lost or altered in part is written again; a complete one is not."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from store_bundles import content, make_bundle

from keras_api.prepare_request import PrepareRequest
from keras_api.reasons import Reason
from keras_api.work_folder import WorkFolder
from keras_store.atomic_file import file_sha256
from keras_store.bundles.open import bundle_store
from keras_store.errors import StepError
from keras_store.fetch import fetch

FILES = {"model.onnx": os.urandom(6 << 20), "saved/variables.bin": b"x" * 1000, "golden.npz": b"golden"}


@dataclass(frozen=True)
class Place:
    """A store, and the folder on the disk in which the tests damage a bundle."""

    url: str
    environ: dict[str, str]
    bundle: Path

    async def put(self, folder: Path) -> bool:
        async with bundle_store(self.url, self.environ) as store:
            return await store.put("team-a/m/rev", folder)

    async def get(self, folder: Path) -> None:
        async with bundle_store(self.url, self.environ) as store:
            await store.get("team-a/m/rev", folder)

    async def fetch(self, work: Path, model: Path) -> None:
        request = PrepareRequest(
            namespace="team-a", model="m", revision="rev", fingerprint="pvc", uri=f"pvc://claim/{model.name}"
        )
        async with bundle_store(self.url, self.environ) as store:
            await fetch(request, store, WorkFolder(work), {}, max_bytes=1000, volumes=model.parent.parent)


@pytest.fixture(params=["embedded", "bucket"])
def place(request: pytest.FixtureRequest, run_store: Callable, tmp_path: Path) -> Place:
    if request.param == "embedded":
        return Place(run_store(tmp_path, "--insecure-no-auth").url, {}, tmp_path / "data/team-a/m/rev")
    s3, prefix = request.getfixturevalue("s3"), f"damage/{tmp_path.name}"
    environ = {f"STORE_{name}": value for name, value in s3.credentials.items()}
    environ["STORE_AWS_ENDPOINT_URL"] = s3.endpoint
    return Place(f"s3://models/{prefix}", environ, s3.folder / f"models/{prefix}/team-a/m/rev")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model on a claim."""
    path = tmp_path / "volumes/claim/m.keras"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"a model")
    return path


def rot(file: Path) -> None:
    with file.open("r+b") as content:
        content.seek(3)
        content.write(b"\0")


HARM: dict[str, Callable[[Path], object]] = {
    "lost": lambda bundle: (bundle / "model.onnx").unlink(),
    "one bit altered": lambda bundle: rot(bundle / "golden.npz"),
    "cut off": lambda bundle: os.truncate(bundle / "model.onnx", 1 << 20),
    "manifest cut off": lambda bundle: os.truncate(bundle / "manifest.json", 100),
}


@pytest.mark.parametrize("harm", HARM.values(), ids=HARM)
async def test_a_damaged_bundle_is_detected_and_prepared_again(
    place: Place, model: Path, tmp_path: Path, harm: Callable[[Path], object]
):
    await place.put(make_bundle(tmp_path / "first", FILES))
    await place.fetch(tmp_path / "work", model)
    assert content(tmp_path / "work").keys() == {"bundle/manifest.json"}, "a complete bundle is not prepared again"

    harm(place.bundle)
    with pytest.raises(StepError, match="the operator prepares it again") as caught:
        await place.get(tmp_path / "broken")
    assert caught.value.reason is Reason.BUNDLE_INVALID
    await place.fetch(tmp_path / "again", model)
    assert content(tmp_path / "again").keys() == {"source/model.keras", "source/record.json"}
    # A second run with the same inputs may have another result.
    second = make_bundle(tmp_path / "second", {**FILES, "golden.npz": b"gold"})
    assert await place.put(second)

    await place.get(tmp_path / "back")
    assert content(tmp_path / "back") == content(second)


async def test_a_complete_bundle_is_never_written_again(place: Place, tmp_path: Path):
    first = make_bundle(tmp_path / "first", FILES)
    await place.put(first)
    written = {path: path.stat().st_mtime_ns for path in place.bundle.rglob("*")}
    assert not await place.put(make_bundle(tmp_path / "second", {**FILES, "golden.npz": b"gold"}))
    assert {path: path.stat().st_mtime_ns for path in place.bundle.rglob("*")} == written
    await place.get(tmp_path / "back")
    assert content(tmp_path / "back") == content(first)


async def test_an_interrupted_repair_is_repeated(place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    await place.put(make_bundle(tmp_path / "first", FILES))
    (place.bundle / "golden.npz").unlink()
    second = make_bundle(tmp_path / "second", {**FILES, "model.onnx": b"another"})
    with monkeypatch.context() as patch:
        patch.setattr("keras_store.bundles.store.file_sha256", killed)
        with pytest.raises(SystemExit):
            await place.put(second)
    assert (place.bundle / "model.onnx").read_bytes() == b"another"
    with pytest.raises(StepError) as caught:
        await place.get(tmp_path / "half")
    assert caught.value.reason is Reason.BUNDLE_INVALID

    assert await place.put(second)
    await place.get(tmp_path / "back")
    assert content(tmp_path / "back") == content(second)


def killed(path: Path) -> str:
    """In place of `file_sha256`, which is last called for the manifest."""
    if path.name == "manifest.json":
        raise SystemExit
    return file_sha256(path)
