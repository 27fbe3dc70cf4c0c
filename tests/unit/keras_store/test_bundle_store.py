"""Bundles in a store: whole or absent, and checked on the way back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from keras_api.manifest import decode_manifest
from keras_api.reasons import Reason
from keras_operator.diagnosis.pods import READINESS_TIMEOUT_SECONDS
from keras_store.bundle_store import STORE_TIMEOUTS, BundleStore, bundle_store
from keras_store.errors import StepError
from keras_store.http_storage import HttpStorage
from keras_store.retry import SILENCES
from keras_store.storage import Timeouts

MakeBundle = Callable[..., Path]
FILES = {"model.onnx": b"onnx" * 100_000, "golden.npz": b"", "saved/variables/data 00:é#?.bin": b"x"}


@pytest.fixture(params=["embedded", "folder"])
async def store(
    request: pytest.FixtureRequest, start_store: Callable[..., Awaitable[str]], tmp_path: Path
) -> AsyncIterator[BundleStore]:
    """A store over the folder `archive`."""
    root = tmp_path / "archive"
    url = await start_store(root) if request.param == "embedded" else f"file://{root}"
    async with bundle_store(url, {}) as opened:
        yield opened


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_bundle_comes_back_as_it_was_put(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    bundle = make_bundle(FILES)
    assert await store.put("ns/m/rev", bundle)
    await store.get("ns/m/rev", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)


async def test_a_bundle_that_is_there_is_not_put_again(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    await store.put("ns/m/rev", make_bundle(FILES))
    assert not await store.put("ns/m/rev", make_bundle({"model.onnx": b"another"}, folder="other"))
    await store.get("ns/m/rev", tmp_path / "back")
    assert (tmp_path / "back/model.onnx").read_bytes() == FILES["model.onnx"]


async def test_an_absent_bundle_has_no_manifest(store: BundleStore):
    assert await store.manifest("ns/m/rev") is None


async def test_an_absent_bundle_cannot_be_got(store: BundleStore, tmp_path: Path):
    with pytest.raises(StepError, match=r"ns/m/rev/manifest\.json") as caught:
        await store.get("ns/m/rev", tmp_path / "back")
    assert caught.value.reason is Reason.BUNDLE_INVALID


def damage(file: str, content: bytes | None) -> Callable[[Path], object]:
    """Write something else into a file of a stored bundle, or delete it."""
    return lambda bundle: (bundle / file).unlink() if content is None else (bundle / file).write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "a file lost": damage("golden.npz", None),
    "a file altered": damage("model.onnx", b"ONNX" * 100_000),
    "a file cut off": damage("model.onnx", b"onnx"),
    "a file grown": damage("golden.npz", b"?"),
    "the manifest cut off": damage("manifest.json", b"{"),
    "the manifest empty": damage("manifest.json", b""),
    "the manifest endless": damage("manifest.json", b"?" * (5 << 20)),
    "all lost but the manifest": lambda bundle: [
        path.unlink() for path in bundle.rglob("*") if path.is_file() and path.name != "manifest.json"
    ],
}


@pytest.mark.parametrize("harm", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("again", [FILES, {**FILES, "model.onnx": b"differs by a byte"}], ids=["same", "another"])
async def test_a_damaged_bundle_is_written_anew(
    store: BundleStore, make_bundle: MakeBundle, tmp_path: Path, harm: Callable[[Path], object], again: dict[str, bytes]
):
    await store.put("ns/m/rev", make_bundle(FILES))
    harm(tmp_path / "archive/ns/m/rev")
    assert await store.whole("ns/m/rev") is None
    bundle = make_bundle(again, folder="again")
    assert await store.put("ns/m/rev", bundle)
    await store.get("ns/m/rev", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)
    assert not await store.put("ns/m/rev", make_bundle(FILES))


async def test_a_bundle_of_another_release_stays_as_it_is(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    """Whether it is damaged nobody here can tell."""
    await store.put("ns/m/rev", make_bundle(FILES))
    seal = tmp_path / "archive/ns/m/rev/manifest.json"
    seal.write_bytes(b'{"version":9}')
    with pytest.raises(StepError, match=r"version 9 is not known here.*or use the release that wrote it") as caught:
        await store.put("ns/m/rev", make_bundle({"model.onnx": b"another"}, folder="again"))
    assert caught.value.reason is Reason.BUNDLE_INVALID
    assert seal.read_bytes() == b'{"version":9}'


async def test_without_its_manifest_a_bundle_is_not_there(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    await store.put("ns/m/rev", make_bundle(FILES))
    (tmp_path / "archive/ns/m/rev/manifest.json").unlink()
    assert await store.manifest("ns/m/rev") is None


@pytest.mark.parametrize(
    "damage", [b"", b"ONNX" * 100_000, b"onnx" * 100_001, b"onnx"], ids=["empty", "same size", "longer", "shorter"]
)
async def test_a_damaged_file_is_not_taken(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path, damage: bytes):
    await store.put("ns/m/rev", make_bundle(FILES))
    (tmp_path / "archive/ns/m/rev/model.onnx").write_bytes(damage)
    with pytest.raises(StepError, match=r"model\.onnx is not the file that the bundle's manifest names") as caught:
        await store.get("ns/m/rev", tmp_path / "back")
    assert caught.value.reason is Reason.BUNDLE_INVALID
    assert not (tmp_path / "back/model.onnx").exists()
    assert not (tmp_path / "back/manifest.json").exists()


async def test_a_missing_file_is_named(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    await store.put("ns/m/rev", make_bundle(FILES))
    (tmp_path / "archive/ns/m/rev/golden.npz").unlink()
    with pytest.raises(StepError, match=r"golden\.npz") as caught:
        await store.get("ns/m/rev", tmp_path / "back")
    assert caught.value.reason is Reason.BUNDLE_INVALID


@pytest.mark.parametrize(("manifest", "says"), [(b"{", "not valid"), (b'{"version":9}', "version 9")])
async def test_a_manifest_that_cannot_be_read_is_refused(
    store: BundleStore, tmp_path: Path, manifest: bytes, says: str
):
    folder = tmp_path / "archive/ns/m/rev"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(manifest)
    with pytest.raises(StepError, match=says) as caught:
        await store.get("ns/m/rev", tmp_path / "back")
    assert caught.value.reason is Reason.BUNDLE_INVALID


async def test_a_manifest_of_another_revision_is_refused(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    make_bundle(FILES, revision="old", folder="archive/ns/m/rev")
    with pytest.raises(StepError, match="is of revision old"):
        await store.get("ns/m/rev", tmp_path / "back")


async def test_a_second_get_repairs_what_a_killed_one_left(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    bundle = make_bundle(FILES)
    await store.put("ns/m/rev", bundle)
    back = tmp_path / "back"
    back.mkdir()
    (back / "model.onnx").write_bytes(b"half")
    (back / ".draft-0").write_bytes(b"half")
    await store.get("ns/m/rev", back)
    assert content(back) == content(bundle)


async def test_a_folder_with_other_things_is_left_alone(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    await store.put("ns/m/rev", make_bundle(FILES))
    back = tmp_path / "back"
    back.mkdir()
    (back / "precious.txt").write_text("mine")
    with pytest.raises(StepError, match=r"precious\.txt does not belong"):
        await store.get("ns/m/rev", back)
    assert content(back) == {"precious.txt": b"mine"}


async def test_a_bundle_that_prepare_left_broken_is_not_put(
    store: BundleStore, make_bundle: MakeBundle, tmp_path: Path
):
    bundle = make_bundle(FILES)
    (bundle / "model.onnx").write_bytes(b"other")
    with pytest.raises(StepError, match=r"model\.onnx") as caught:
        await store.put("ns/m/rev", bundle)
    assert caught.value.reason is Reason.PREPARE_FAILED
    assert await store.manifest("ns/m/rev") is None


async def test_what_a_killed_run_left_in_the_store_is_replaced(
    store: BundleStore, make_bundle: MakeBundle, tmp_path: Path
):
    left = tmp_path / "archive/ns/m/rev"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"of a killed run")
    bundle = make_bundle(FILES)
    await store.put("ns/m/rev", bundle)
    await store.get("ns/m/rev", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)


async def test_many_files_are_moved_all(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    bundle = make_bundle({f"part-{index}": bytes([index]) * index for index in range(40)})
    await store.put("ns/m/rev", bundle)
    assert len((await store.get("ns/m/rev", tmp_path / "back")).files) == 40
    assert decode_manifest((tmp_path / "back/manifest.json").read_bytes()).revision == "rev"


@pytest.mark.parametrize("url", ["ftp://x/y", "s3://", "file://relative", "", "bundles"])
def test_a_store_s_address_that_makes_no_sense_is_refused(url: str):
    with pytest.raises(StepError, match="no address of a store"):
        bundle_store(url, {})


async def test_a_store_that_is_down_is_named(make_bundle: MakeBundle):
    async with bundle_store("http://no-such-store.invalid:8080", {}) as store:
        with pytest.raises(
            StepError, match=r"no-such-store\.invalid.*what is served already is not affected"
        ) as caught:
            await store.put("ns/m/rev", make_bundle(FILES))
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_store_that_never_answers_is_asked_once_more(serve: Callable[..., Awaitable[str]]):
    asked = []

    async def never(request: web.Request) -> web.Response:
        asked.append(request.path)
        await asyncio.sleep(60)
        return web.Response()

    async with BundleStore(HttpStorage(await serve(never), timeouts=Timeouts(silence=0.1))) as store:
        with pytest.raises(StepError, match=r"not a byte for 0\.1 s\): look whether the store, its volume") as caught:
            await store.manifest("ns/m/rev")
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert asked == ["/ns/m/rev/manifest.json"] * 2


def test_whoever_waits_for_a_silent_store_is_told_within_a_minute():
    assert STORE_TIMEOUTS.silence * SILENCES < 60
    # And before the operator asks a server that is not ready for its log.
    assert STORE_TIMEOUTS.silence < READINESS_TIMEOUT_SECONDS
