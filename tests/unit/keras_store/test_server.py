"""The embedded store over HTTP: access, accepted files, and immutable bundles."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from io import FileIO
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import pytest

from keras_store.bundles.embedded import content_digest
from keras_store.bundles.open import bundle_store
from keras_store.errors import StepError
from keras_store.server import app as server_module
from keras_store.server.disk import BundleDisk, BundleDiskError

MakeBundle = Callable[..., Path]
StartStore = Callable[..., Awaitable[str]]
PATH = "a/m/rev/model.onnx"


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def url(start_store: StartStore) -> str:
    return await start_store()


def digest_of(content: bytes) -> dict[str, str]:
    return {"Content-Digest": content_digest(hashlib.sha256(content).hexdigest())}


async def put_bundle(url: str, bundle: Path, path: str = "a/m/rev") -> None:
    async with bundle_store(url, {}) as store:
        assert await store.put(path, bundle)


async def test_a_file_that_was_put_can_be_got(client: aiohttp.ClientSession, url: str):
    async with client.put(f"{url}/{PATH}", data=b"content") as response:
        assert response.status == 201
    async with client.get(f"{url}/{PATH}") as response:
        assert (response.status, await response.read()) == (200, b"content")


async def test_head_returns_the_size(client: aiohttp.ClientSession, url: str):
    await (await client.put(f"{url}/{PATH}", data=b"content")).release()
    async with client.head(f"{url}/{PATH}") as response:
        assert (response.status, response.content_length) == (200, 7)


async def test_a_range_returns_a_part(client: aiohttp.ClientSession, url: str):
    await (await client.put(f"{url}/{PATH}", data=b"content")).release()
    async with client.get(f"{url}/{PATH}", headers={"Range": "bytes=3-5"}) as response:
        assert (response.status, await response.read()) == (206, b"ten")
        assert response.headers["Content-Range"] == "bytes 3-5/7"


async def test_an_absent_file_is_404_in_plain_text(client: aiohttp.ClientSession, url: str):
    async with client.get(f"{url}/{PATH}") as response:
        assert (response.status, await response.text()) == (404, "a/m/rev has no model.onnx\n")


@pytest.mark.parametrize(
    "path", ["a/m/rev", "a/m", "a/m/rev/", "a//rev/x", "A/m/rev/x", ".incoming/m/rev/x", "a/m/rev/\x01"]
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_path_outside_of_a_bundle_is_rejected(client: aiohttp.ClientSession, url: str, method: str, path: str):
    async with client.request(method, f"{url}/{path}") as response:
        assert response.status == 400


async def text_of(client: aiohttp.ClientSession, url: str) -> str:
    async with client.get(url) as response:
        return await response.text()


async def raw(url: str, target: str, method: str = "GET") -> int:
    """The status of a request whose target no client library has normalised."""
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
    status = int((await reader.readline()).split()[1])
    writer.close()
    await writer.wait_closed()
    return status


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(
    "target",
    [
        "/a/m/rev/../../../b/secret",
        "/a/m/rev/%2e%2e/%2e%2e/%2e%2e/b/secret",
        "/a/m/rev/..%2f..%2f..%2fb/secret",
        "/a/m/rev/..%5c..%5cb",
        "/a/m/../rev/x",
        "/a/m/rev/./x",
        "//etc/m/rev/passwd",
        "/a/m/rev/%00",
    ],
)
async def test_a_path_with_parent_segments_is_rejected(
    start_store: StartStore, tmp_path: Path, target: str, method: str
):
    url = await start_store(tmp_path / "x/archive")
    (tmp_path / "x/archive/b").mkdir()
    (tmp_path / "x/archive/b/secret").write_text("secret")
    assert await raw(url, target, method) in {400, 404}
    assert (tmp_path / "x/archive/b/secret").read_text() == "secret"


async def test_a_body_with_another_digest_is_rejected_and_not_kept(client: aiohttp.ClientSession, url: str):
    async with client.put(f"{url}/{PATH}", data=b"content", headers=digest_of(b"other")) as response:
        assert response.status == 400
        assert "send it again" in await response.text()
    async with client.get(f"{url}/{PATH}") as response:
        assert response.status == 404


@pytest.mark.parametrize("header", ["", "md5=:x:", "sha-256=:AAAA:", "sha-256=:====:", "nonsense"])
async def test_an_invalid_digest_is_rejected(client: aiohttp.ClientSession, url: str, header: str):
    async with client.put(f"{url}/{PATH}", data=b"content", headers={"Content-Digest": header}) as response:
        assert response.status == 400


async def test_an_interrupted_upload_is_not_kept(client: aiohttp.ClientSession, url: str, tmp_path: Path):
    _, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(f"PUT /{PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nonly this".encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    async with asyncio.timeout(5):
        while 'code="499"' not in (metrics := await text_of(client, f"{url}/metrics")):
            assert 'code="201"' not in metrics
    assert list((tmp_path / "archive/.incoming").glob("*")) == []
    async with client.get(f"{url}/{PATH}") as response:
        assert response.status == 404


async def test_an_idle_upload_times_out(url: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 0.1)
    reader, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(f"PUT /{PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nonly this".encode())
    async with asyncio.timeout(5):
        assert b"408" in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_files_may_change_until_the_manifest_is_stored(client: aiohttp.ClientSession, url: str):
    for content in (b"first", b"second"):
        async with client.put(f"{url}/{PATH}", data=content) as response:
            assert response.status == 201


async def test_a_bundle_with_a_manifest_is_immutable(client: aiohttp.ClientSession, url: str, make_bundle: MakeBundle):
    await put_bundle(url, make_bundle({"model.onnx": b"onnx"}))
    for path in (PATH, "a/m/rev/manifest.json", "a/m/rev/new"):
        async with client.put(f"{url}/{path}", data=b"other") as response:
            assert response.status == 409
            assert "is immutable" in await response.text()
    async with client.get(f"{url}/{PATH}") as response:
        assert await response.read() == b"onnx"


async def test_a_bundle_of_another_release_is_immutable(
    client: aiohttp.ClientSession, url: str, make_bundle: MakeBundle, tmp_path: Path
):
    await put_bundle(url, make_bundle({"model.onnx": b"onnx"}))
    (tmp_path / "archive/a/m/rev/manifest.json").write_bytes(b'{"version":9}')
    async with client.put(f"{url}/{PATH}", data=b"other") as response:
        assert response.status == 409


async def test_a_manifest_for_another_revision_is_rejected(
    client: aiohttp.ClientSession, url: str, make_bundle: MakeBundle
):
    bundle = make_bundle({"model.onnx": b"onnx"}, revision="other")
    await (await client.put(f"{url}/{PATH}", data=b"onnx")).release()
    async with client.put(f"{url}/a/m/rev/manifest.json", data=(bundle / "manifest.json").read_bytes()) as response:
        assert (response.status, "is for revision other" in await response.text()) == (409, True)


async def test_the_same_content_again_is_accepted(client: aiohttp.ClientSession, url: str, make_bundle: MakeBundle):
    bundle = make_bundle({"model.onnx": b"onnx"})
    await put_bundle(url, bundle)
    for name in ("model.onnx", "manifest.json"):
        async with client.put(f"{url}/a/m/rev/{name}", data=(bundle / name).read_bytes()) as response:
            assert response.status == 200


@pytest.mark.parametrize("content", [None, b"ONNX"], ids=["absent", "different"])
async def test_a_manifest_without_its_files_is_rejected(
    client: aiohttp.ClientSession, url: str, make_bundle: MakeBundle, content: bytes | None
):
    bundle = make_bundle({"model.onnx": b"onnx"})
    if content is not None:
        await (await client.put(f"{url}/{PATH}", data=content)).release()
    async with client.put(f"{url}/a/m/rev/manifest.json", data=(bundle / "manifest.json").read_bytes()) as response:
        assert response.status == 409
        assert "model.onnx" in await response.text()


async def test_files_that_are_not_in_the_manifest_are_deleted(
    client: aiohttp.ClientSession, url: str, make_bundle: MakeBundle
):
    await (await client.put(f"{url}/a/m/rev/old/left.bin", data=b"x")).release()
    await put_bundle(url, make_bundle({"model.onnx": b"onnx"}))
    async with client.get(f"{url}/a/m/rev/old/left.bin") as response:
        assert response.status == 404


async def test_a_file_and_a_folder_cannot_have_the_same_name(client: aiohttp.ClientSession, url: str):
    await (await client.put(f"{url}/a/m/rev/x", data=b"")).release()
    async with client.put(f"{url}/a/m/rev/x/y", data=b"") as response:
        assert response.status == 409


async def test_two_concurrent_runs_leave_one_complete_bundle(url: str, make_bundle: MakeBundle, tmp_path: Path):
    bundles = [make_bundle({f"part-{i}": text * i for i in range(20)}, folder=text.decode()) for text in (b"x", b"y")]

    async def put(bundle: Path) -> None:
        async with bundle_store(url, {}) as store:
            try:
                await store.put("a/m/rev", bundle)
            except StepError as error:
                assert "another run writes the same bundle" in error.message  # noqa: PT017 - either may win

    await asyncio.gather(*(put(bundle) for bundle in bundles))
    async with bundle_store(url, {}) as store:
        if await store.manifest("a/m/rev") is not None:
            await store.get("a/m/rev", tmp_path / "back")


@pytest.mark.parametrize("size", [None, 1000])
async def test_a_full_volume_is_507(
    client: aiohttp.ClientSession, url: str, monkeypatch: pytest.MonkeyPatch, size: int | None
):
    if size:
        monkeypatch.setattr(BundleDisk, "free_bytes", lambda _: size)
    else:
        monkeypatch.setattr("keras_store.atomic_file._create", lambda _: FileIO("/dev/full", "w"))
    async with client.put(f"{url}/{PATH}", data=b"content") as response:
        assert response.status == 507
        assert "the store's volume has no space left" in await response.text()


async def test_the_client_reports_a_full_volume(url: str, make_bundle: MakeBundle, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(BundleDisk, "free_bytes", lambda _: 1000)
    async with bundle_store(url, {}) as store:
        with pytest.raises(StepError, match=r"507.*no space left.*enlarge the store's volume"):
            await store.put("a/m/rev", make_bundle({"model.onnx": b"onnx" * 5_000_000}))


@pytest.mark.parametrize(
    ("token", "status", "says"),
    [
        (None, 401, "token is required"),
        ("Basic abc", 401, "token is required"),
        ("Bearer ", 401, "token is required"),
        ("Bearer garbage", 401, "unknown"),
        ("Bearer token-of-b", 403, "pods of namespace b have no access to /a/"),
        ("Bearer of-a-person", 403, "not a ServiceAccount"),
        ("Bearer api-server-down", 503, "cannot check tokens"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_a_forbidden_request_has_an_explanation(
    client: aiohttp.ClientSession,
    start_store: StartStore,
    known_tokens: object,
    method: str,
    token: str | None,
    status: int,
    says: str,
):
    url = await start_store(tokens=known_tokens)
    headers = {"Authorization": token} if token else {}
    async with client.request(method, f"{url}/{PATH}", headers=headers) as response:
        assert response.status == status
        assert says in await response.text()


async def test_a_token_of_the_namespace_may_write(
    client: aiohttp.ClientSession, start_store: StartStore, known_tokens: object
):
    url = await start_store(tokens=known_tokens)
    async with client.put(f"{url}/{PATH}", data=b"x", headers={"Authorization": "Bearer token-of-a"}) as response:
        assert response.status == 201


async def test_a_read_only_token_may_read_and_not_write(
    client: aiohttp.ClientSession, start_store: StartStore, known_tokens: object
):
    url = await start_store(tokens=known_tokens)
    headers = {"Authorization": "Bearer read-token-of-a"}
    async with client.put(f"{url}/{PATH}", data=b"x", headers=headers) as response:
        assert (response.status, "is read-only" in await response.text()) == (403, True)
    async with client.get(f"{url}/{PATH}", headers=headers) as response:
        assert response.status == 404


async def test_the_token_file_is_read_for_every_request(
    start_store: StartStore, known_tokens: object, tmp_path: Path, make_bundle: MakeBundle
):
    url = await start_store(tokens=known_tokens)
    token = tmp_path / "token"
    async with bundle_store(url, {"KERAS_STORE_TOKEN_FILE": str(token)}) as store:
        with pytest.raises(StepError, match="the store's token"):
            await store.manifest("a/m/rev")
        token.write_text("token-of-b")
        with pytest.raises(StepError, match="403"):
            await store.manifest("a/m/rev")
        token.write_text("token-of-a\n")
        assert await store.put("a/m/rev", make_bundle({"model.onnx": b"onnx"}))


async def test_health_and_metrics_need_no_token(
    client: aiohttp.ClientSession, start_store: StartStore, known_tokens: object
):
    url = await start_store(tokens=known_tokens)
    await (await client.get(f"{url}/{PATH}")).release()
    async with client.get(f"{url}/healthz") as response:
        assert response.status == 200
    text = await text_of(client, f"{url}/metrics")
    assert 'keras_store_requests_total{code="401",method="GET"} 1.0' in text
    assert "keras_store_free_bytes" in text


async def test_a_transfer_without_a_free_slot_waits_and_is_then_rejected(
    start_store: StartStore, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(server_module, "TRANSFERS", 1)
    monkeypatch.setattr(server_module, "SLOT_SECONDS", 0.05)
    url = await start_store()
    _, writer = await asyncio.open_connection(urlsplit(url).hostname, urlsplit(url).port)
    writer.write(f"PUT /{PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n".encode())
    await writer.drain()
    await asyncio.sleep(0.05)  # until the server has read the request; there is no signal for that
    async with client.get(f"{url}/{PATH}") as response:
        assert response.status == 503
        assert "Retry-After" in response.headers
    writer.close()
    await writer.wait_closed()


def test_two_stores_cannot_use_the_same_folder(tmp_path: Path):
    first = BundleDisk(tmp_path)
    with pytest.raises(BundleDiskError, match="another store uses"):
        BundleDisk(tmp_path)
    first.close()
    BundleDisk(tmp_path).close()
