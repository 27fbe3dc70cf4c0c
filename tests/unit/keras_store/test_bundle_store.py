"""Bundles in a store: complete or absent, and checked after a download."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from keras_api.manifest import decode_manifest
from keras_api.reasons import Reason
from keras_operator.diagnosis.pods import READINESS_TIMEOUT_SECONDS
from keras_store.atomic_file import TEMP_PREFIX
from keras_store.bundles.embedded import EmbeddedStorage
from keras_store.bundles.open import STORE_TIMEOUTS, bundle_store
from keras_store.bundles.store import BundleStore
from keras_store.errors import StepError
from keras_store.retry import MAX_TIMEOUTS
from keras_store.storage.base import Timeouts

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


async def test_getting_an_absent_bundle_fails(store: BundleStore, tmp_path: Path):
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
async def test_a_damaged_bundle_is_written_again(
    store: BundleStore, make_bundle: MakeBundle, tmp_path: Path, harm: Callable[[Path], object], again: dict[str, bytes]
):
    await store.put("ns/m/rev", make_bundle(FILES))
    harm(tmp_path / "archive/ns/m/rev")
    assert await store.verified_manifest("ns/m/rev") is None
    bundle = make_bundle(again, folder="again")
    assert await store.put("ns/m/rev", bundle)
    await store.get("ns/m/rev", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)
    assert not await store.put("ns/m/rev", make_bundle(FILES))


async def test_a_bundle_of_another_release_is_not_replaced(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    """This release cannot decide whether it is damaged."""
    await store.put("ns/m/rev", make_bundle(FILES))
    manifest = tmp_path / "archive/ns/m/rev/manifest.json"
    manifest.write_bytes(b'{"version":9}')
    with pytest.raises(
        StepError, match=r"version 9 is not supported.*or use the release that wrote the manifest"
    ) as caught:
        await store.put("ns/m/rev", make_bundle({"model.onnx": b"another"}, folder="again"))
    assert caught.value.reason is Reason.BUNDLE_INVALID
    assert manifest.read_bytes() == b'{"version":9}'


async def test_a_bundle_without_a_manifest_does_not_exist(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    await store.put("ns/m/rev", make_bundle(FILES))
    (tmp_path / "archive/ns/m/rev/manifest.json").unlink()
    assert await store.manifest("ns/m/rev") is None


@pytest.mark.parametrize(
    "damage", [b"", b"ONNX" * 100_000, b"onnx" * 100_001, b"onnx"], ids=["empty", "same size", "longer", "shorter"]
)
async def test_a_damaged_file_is_not_kept(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path, damage: bytes):
    await store.put("ns/m/rev", make_bundle(FILES))
    (tmp_path / "archive/ns/m/rev/model.onnx").write_bytes(damage)
    with pytest.raises(StepError, match=r"model\.onnx is not the file in the bundle's manifest") as caught:
        await store.get("ns/m/rev", tmp_path / "back")
    assert caught.value.reason is Reason.BUNDLE_INVALID
    assert not (tmp_path / "back/model.onnx").exists()
    assert not (tmp_path / "back/manifest.json").exists()


async def test_an_error_names_a_missing_file(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    await store.put("ns/m/rev", make_bundle(FILES))
    (tmp_path / "archive/ns/m/rev/golden.npz").unlink()
    with pytest.raises(StepError, match=r"golden\.npz") as caught:
        await store.get("ns/m/rev", tmp_path / "back")
    assert caught.value.reason is Reason.BUNDLE_INVALID


@pytest.mark.parametrize(("manifest", "says"), [(b"{", "not valid"), (b'{"version":9}', "version 9")])
async def test_an_invalid_manifest_is_rejected(store: BundleStore, tmp_path: Path, manifest: bytes, says: str):
    folder = tmp_path / "archive/ns/m/rev"
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_bytes(manifest)
    with pytest.raises(StepError, match=says) as caught:
        await store.get("ns/m/rev", tmp_path / "back")
    assert caught.value.reason is Reason.BUNDLE_INVALID


async def test_a_manifest_of_another_revision_is_rejected(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    make_bundle(FILES, revision="old", folder="archive/ns/m/rev")
    with pytest.raises(StepError, match="is for revision old"):
        await store.get("ns/m/rev", tmp_path / "back")


async def test_a_second_get_completes_a_killed_one(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    bundle = make_bundle(FILES)
    await store.put("ns/m/rev", bundle)
    back = tmp_path / "back"
    back.mkdir()
    (back / "model.onnx").write_bytes(b"half")
    (back / f"{TEMP_PREFIX}0").write_bytes(b"half")
    await store.get("ns/m/rev", back)
    assert content(back) == content(bundle)


async def test_a_folder_with_other_files_is_not_touched(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    await store.put("ns/m/rev", make_bundle(FILES))
    back = tmp_path / "back"
    back.mkdir()
    (back / "precious.txt").write_text("mine")
    with pytest.raises(StepError, match=r"precious\.txt does not belong"):
        await store.get("ns/m/rev", back)
    assert content(back) == {"precious.txt": b"mine"}


async def test_an_invalid_bundle_of_the_prepare_step_is_not_put(
    store: BundleStore, make_bundle: MakeBundle, tmp_path: Path
):
    bundle = make_bundle(FILES)
    (bundle / "model.onnx").write_bytes(b"other")
    with pytest.raises(StepError, match=r"model\.onnx") as caught:
        await store.put("ns/m/rev", bundle)
    assert caught.value.reason is Reason.PREPARE_FAILED
    assert await store.manifest("ns/m/rev") is None


async def test_files_that_a_killed_run_left_in_the_store_are_replaced(
    store: BundleStore, make_bundle: MakeBundle, tmp_path: Path
):
    left = tmp_path / "archive/ns/m/rev"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"of a killed run")
    bundle = make_bundle(FILES)
    await store.put("ns/m/rev", bundle)
    await store.get("ns/m/rev", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)


async def test_all_files_of_a_large_bundle_are_transferred(store: BundleStore, make_bundle: MakeBundle, tmp_path: Path):
    bundle = make_bundle({f"part-{index}": bytes([index]) * index for index in range(40)})
    await store.put("ns/m/rev", bundle)
    assert len((await store.get("ns/m/rev", tmp_path / "back")).files) == 40
    assert decode_manifest((tmp_path / "back/manifest.json").read_bytes()).revision == "rev"


@pytest.mark.parametrize("url", ["ftp://x/y", "s3://", "file://relative", "", "bundles"])
def test_an_invalid_store_address_is_rejected(url: str):
    with pytest.raises(StepError, match="is not a valid store address"):
        bundle_store(url, {})


async def test_an_error_names_a_store_that_is_down(make_bundle: MakeBundle):
    async with bundle_store("http://no-such-store.invalid:8080", {}) as store:
        with pytest.raises(
            StepError, match=r"no-such-store\.invalid.*models that are being served are not affected"
        ) as caught:
            await store.put("ns/m/rev", make_bundle(FILES))
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_request_that_times_out_is_retried_once(serve: Callable[..., Awaitable[str]]):
    asked = []

    async def never(request: web.Request) -> web.Response:
        asked.append(request.path)
        await asyncio.sleep(60)
        return web.Response()

    async with BundleStore(EmbeddedStorage(await serve(never), timeouts=Timeouts(idle=0.1))) as store:
        with pytest.raises(StepError, match=r"no data for 0\.1 s\): check the store, its volume") as caught:
            await store.manifest("ns/m/rev")
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
    assert asked == ["/ns/m/rev/manifest.json"] * 2


async def test_the_timeout_of_a_manifest_allows_the_store_to_check_its_files(
    serve: Callable[..., Awaitable[str]], make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch
):
    async def slow_disk(request: web.Request) -> web.Response:
        if request.method != "PUT":
            return web.Response(status=404)
        await request.read()
        if request.path.endswith("/manifest.json"):
            await asyncio.sleep(0.5)
        return web.Response(status=201)

    monkeypatch.setattr("keras_store.bundles.embedded._SLOWEST_DISK", 1 << 20)
    async with BundleStore(EmbeddedStorage(await serve(slow_disk), timeouts=Timeouts(idle=0.2))) as store:
        assert await store.put("ns/m/rev", make_bundle({"model.onnx": b"x" * (1 << 20)}))


def test_a_store_that_does_not_answer_is_reported_within_a_minute():
    assert STORE_TIMEOUTS.idle * MAX_TIMEOUTS < 60
    # Earlier than the operator reads the log of a server that is not ready.
    assert STORE_TIMEOUTS.idle < READINESS_TIMEOUT_SECONDS
