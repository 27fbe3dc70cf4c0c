"""The fetch step: it writes the complete file with the expected version, or no file."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from io import FileIO
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from keras_api.manifest import SourceRecord, decode_manifest
from keras_api.prepare_request import PrepareRequest
from keras_api.reasons import Reason
from keras_api.resource import Validation
from keras_api.work_folder import WorkFolder
from keras_store.bundles.open import bundle_store
from keras_store.errors import StepError
from keras_store.fetch import fetch
from keras_store.sources.fingerprint import fingerprint

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]

MODEL = b"a model " * 1000
DIGEST = f"sha256:{hashlib.sha256(MODEL).hexdigest()}"
EMPTY_STORE = "file:///nowhere/at/all"


def request(uri: str, fingerprint: str = "etag", **more: object) -> PrepareRequest:
    return PrepareRequest(
        namespace="ns",
        model="m",
        revision="rev",
        fingerprint=fingerprint,
        uri=uri,
        **more,  # type: ignore[arg-type]
    )


async def run(wanted: PrepareRequest, work: Path, store: str = EMPTY_STORE, **more: object) -> None:
    async with bundle_store(store, {}) as bundles:
        await fetch(wanted, bundles, WorkFolder(work), {}, **{"max_bytes": 1 << 20, **more})  # type: ignore[arg-type]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


async def model(_: web.Request) -> web.Response:
    return web.Response(body=MODEL, headers={"ETag": '"etag"'})


async def test_the_file_is_fetched_with_a_record_of_its_content(serve: Serve, tmp_path: Path):
    url = await serve(model)
    await run(request(f"{url}/m.keras?signature=secret"), tmp_path)
    record = msgspec.json.decode((tmp_path / "source/record.json").read_bytes(), type=SourceRecord)
    assert (tmp_path / "source/model.keras").read_bytes() == MODEL
    assert record == SourceRecord(uri=f"{url}/m.keras", fingerprint="etag", digest=DIGEST, size_bytes=len(MODEL))


@pytest.mark.parametrize(("ending", "name"), [("keras", "model.keras"), ("h5", "model.h5"), ("hdf5", "model.h5")])
async def test_the_file_keeps_its_type(serve: Serve, tmp_path: Path, ending: str, name: str):
    await run(request(f"{await serve(model)}/x.{ending}"), tmp_path)
    assert files(tmp_path) == [f"source/{name}", "source/record.json"]


async def test_the_validation_rows_are_fetched(serve: Serve, tmp_path: Path):
    url = await serve(model)
    await run(request(f"{url}/m.keras", validation=Validation(data=f"{url}/rows.csv")), tmp_path)
    assert files(tmp_path) == ["source/model.keras", "source/record.json", "source/validation.csv"]


async def test_an_error_of_the_rows_names_the_field(serve: Serve, tmp_path: Path):
    async def only_model(asked: web.Request) -> web.Response:
        return await model(asked) if asked.path.endswith(".keras") else web.Response(status=404)

    url = await serve(only_model)
    with pytest.raises(StepError, match=r"^spec\.validation\.data: .*rows\.csv answers 404") as caught:
        await run(request(f"{url}/m.keras", validation=Validation(data=f"{url}/rows.csv")), tmp_path)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


async def test_too_many_rows_are_reported(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keras_store.fetch.MAX_VALIDATION_BYTES", len(MODEL) - 1)
    url = await serve(model)
    with pytest.raises(
        StepError, match=r"^spec\.validation\.data: .*rows\.csv has 8000 bytes.*give fewer rows"
    ) as caught:
        await run(request(f"{url}/m.keras", validation=Validation(data=f"{url}/rows.csv")), tmp_path)
    assert caught.value.reason is Reason.VALIDATION_DATA_INVALID
    assert files(tmp_path) == []


async def test_with_a_pinned_digest_the_etag_may_change(serve: Serve, tmp_path: Path):
    await run(request(f"{await serve(model)}/m.keras", fingerprint=DIGEST, digest=DIGEST), tmp_path)
    assert "source/model.keras" in files(tmp_path)


async def test_a_file_with_another_digest_is_rejected_and_not_kept(serve: Serve, tmp_path: Path):
    want = "sha256:" + "0" * 64
    with pytest.raises(StepError, match=f"{DIGEST}.*{want}") as caught:
        await run(request(f"{await serve(model)}/m.keras", fingerprint=want, digest=want), tmp_path)
    assert caught.value.reason is Reason.DIGEST_MISMATCH
    assert files(tmp_path) == []


async def test_a_file_that_was_replaced_since_it_was_polled_is_rejected(serve: Serve, tmp_path: Path):
    with pytest.raises(StepError, match=r"was replaced.*then old, now etag.*polls the source again") as caught:
        await run(request(f"{await serve(model)}/m.keras", fingerprint="old"), tmp_path)
    assert caught.value.reason is Reason.SOURCE_CHANGED
    assert files(tmp_path) == []


async def test_polling_and_fetching_find_the_same_fingerprint(serve: Serve, tmp_path: Path):
    async def no_etag(_: web.Request) -> web.Response:
        return web.Response(body=MODEL, headers={"Last-Modified": "Sun, 22 Nov 2026 07:00:00 GMT"})

    uri = f"{await serve(no_etag)}/m.keras"
    await run(request(uri, fingerprint=(await fingerprint(uri)).value), tmp_path)
    assert "source/model.keras" in files(tmp_path)


async def test_a_file_with_too_large_a_size_is_not_downloaded(serve: Serve, tmp_path: Path):
    with pytest.raises(
        StepError, match=r"8000 bytes, but the limit is 7999.*chart value prepare.maxSourceSize"
    ) as caught:
        await run(request(f"{await serve(model)}/m.keras"), tmp_path, max_bytes=len(MODEL) - 1)
    assert caught.value.reason is Reason.SOURCE_TOO_LARGE
    assert files(tmp_path) == []


async def test_a_file_of_unknown_size_is_cut_off_at_the_limit(serve: Serve, tmp_path: Path):
    async def endless(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"ETag": '"etag"'})
        response.enable_chunked_encoding()
        await response.prepare(asked)
        while True:
            await response.write(MODEL)

    with pytest.raises(StepError, match="more than 100000 bytes") as caught:
        await run(request(f"{await serve(endless)}/m.keras"), tmp_path, max_bytes=100_000)
    assert caught.value.reason is Reason.SOURCE_TOO_LARGE
    assert files(tmp_path) == []


async def test_an_interrupted_download_is_retried(serve: Serve, tmp_path: Path):
    attempts = []

    async def breaks_once(asked: web.Request) -> web.StreamResponse:
        attempts.append(asked.method)
        if len(attempts) > 1:
            return await model(asked)
        response = web.StreamResponse(headers={"ETag": '"etag"', "Content-Length": str(len(MODEL))})
        await response.prepare(asked)
        await response.write(MODEL[:100])
        assert asked.transport is not None
        asked.transport.close()
        return response

    await run(request(f"{await serve(breaks_once)}/m.keras"), tmp_path)
    assert (tmp_path / "source/model.keras").read_bytes() == MODEL
    assert len(attempts) == 2


async def test_a_download_that_is_always_interrupted_fails_and_leaves_no_file(serve: Serve, tmp_path: Path):
    async def breaks(asked: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"ETag": '"etag"', "Content-Length": str(len(MODEL))})
        await response.prepare(asked)
        await response.write(MODEL[:100])
        await asyncio.sleep(0)
        assert asked.transport is not None
        asked.transport.close()
        return response

    with pytest.raises(StepError, match="closed before the end") as caught:
        await run(request(f"{await serve(breaks)}/m.keras"), tmp_path)
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE
    assert files(tmp_path) == []


async def test_a_full_disk_is_not_an_error_of_the_source(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("keras_store.atomic_file._create", lambda _: FileIO("/dev/full", "w"))
    with pytest.raises(OSError, match="No space left on device") as caught:
        await run(request(f"{await serve(model)}/m.keras"), tmp_path)
    assert caught.value.filename == str(tmp_path / "source")


async def test_a_bundle_that_is_in_the_store_is_not_prepared_again(make_bundle: Callable[..., Path], tmp_path: Path):
    bundle = make_bundle({"model.onnx": b"onnx"}, folder="store/ns/m/rev")
    await run(request("http://no-such-host.invalid/m.keras"), tmp_path / "work", store=f"file://{tmp_path}/store")
    assert files(tmp_path / "work") == ["bundle/manifest.json"]
    fetched = decode_manifest((tmp_path / "work/bundle/manifest.json").read_bytes())
    assert fetched == decode_manifest((bundle / "manifest.json").read_bytes())


async def test_a_damaged_bundle_in_the_store_is_prepared_again(
    serve: Serve, make_bundle: Callable[..., Path], tmp_path: Path
):
    make_bundle({"model.onnx": b"onnx"}, folder="store/ns/m/rev")
    (tmp_path / "store/ns/m/rev/model.onnx").write_bytes(b"ONNX")
    await run(request(f"{await serve(model)}/m.keras"), tmp_path / "work", store=f"file://{tmp_path}/store")
    assert files(tmp_path / "work") == ["source/model.keras", "source/record.json"]


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """A mounted claim with a model in a folder."""
    folder = tmp_path / "volumes/claim"
    (folder / "models").mkdir(parents=True)
    (folder / "models/m.keras").write_bytes(MODEL)
    return folder


async def test_a_file_of_a_claim_is_read_from_its_mount(claim: Path, tmp_path: Path):
    await run(request("pvc://claim/models/m.keras", fingerprint="pvc"), tmp_path / "work", volumes=claim.parent)
    assert (tmp_path / "work/source/model.keras").read_bytes() == MODEL


async def test_an_error_names_a_file_that_a_claim_does_not_have(claim: Path, tmp_path: Path):
    with pytest.raises(StepError, match=r"^pvc://claim/x\.keras: No such file") as caught:
        await run(request("pvc://claim/x.keras", fingerprint="pvc"), tmp_path / "work", volumes=claim.parent)
    assert caught.value.reason is Reason.SOURCE_NOT_FOUND


async def test_a_link_that_leads_out_of_a_claim_is_not_followed(claim: Path, tmp_path: Path):
    (claim / "x.keras").symlink_to("/etc/passwd")
    with pytest.raises(StepError, match="leads out of the folder") as caught:
        await run(request("pvc://claim/x.keras", fingerprint="pvc"), tmp_path / "work", volumes=claim.parent)
    assert caught.value.reason is Reason.SOURCE_ACCESS_DENIED


async def test_a_folder_is_not_a_model(claim: Path, tmp_path: Path):
    (claim / "x.keras").mkdir()
    with pytest.raises(StepError, match="is not a file"):
        await run(request("pvc://claim/x.keras", fingerprint="pvc"), tmp_path / "work", volumes=claim.parent)
