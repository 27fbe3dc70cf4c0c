"""Real servers on loopback, and bundles, for the tests of the store."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from keras_api.manifest import (
    FileRecord,
    Manifest,
    ModelSummary,
    Parity,
    SourceRecord,
    Tensor,
    encode_manifest,
)
from keras_store.server.app import StoreApp
from keras_store.server.disk import BundleDisk
from keras_store.server.tokens import (
    Account,
    Authenticator,
    Identity,
    InvalidTokenError,
    NotServiceAccountError,
    ReviewUnavailableError,
)

sys.path.insert(0, str(Path(__file__).parent))  # for this folder's helpers

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Serve = Callable[[Handler], Awaitable[str]]
MakeBundle = Callable[..., Path]
StartStore = Callable[..., Awaitable[str]]


class KnownTokens:
    """Tokens of two namespaces, and one for each error."""

    async def identity(self, token: str) -> Identity:
        match token:
            case "token-of-a" | "token-of-b":
                return Identity(Account(token[-1], "model"), may_write=True)
            case "read-token-of-a":
                return Identity(Account("a", "model"), may_write=False)
            case "of-a-person":
                raise NotServiceAccountError("jane is not a ServiceAccount")
            case "api-server-down":
                raise ReviewUnavailableError("the store cannot check tokens")
        raise InvalidTokenError("unknown")


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    """Serve an application on a free port as `web.run_app` does; its URL."""
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries have no pauses."""
    monkeypatch.setattr("keras_store.retry.random.uniform", lambda *_: 0.0)


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a web server with one handler for everything; its URL."""
    async with AsyncExitStack() as running:

        async def start(handler: Handler) -> str:
            app = web.Application()
            app.router.add_route("*", "/{path:.*}", handler)
            return await running.enter_async_context(served(app))

        yield start


@pytest.fixture
def make_bundle(tmp_path: Path) -> MakeBundle:
    """Make a bundle folder of the given files."""

    def make(files: dict[str, bytes], revision: str = "rev", folder: str = "bundle") -> Path:
        root = tmp_path / folder
        for path, content in files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_bytes(content)
        tensor = Tensor(name="x", dtype="float32", shape=[-1, 1])
        digest = f"sha256:{hashlib.sha256(b'source').hexdigest()}"
        manifest = Manifest(
            revision=revision,
            source=SourceRecord(uri="s3://models/m.keras", fingerprint="etag", digest=digest, size_bytes=6),
            model=ModelSummary(
                digest=digest,
                size_bytes=6,
                keras_version="3.15.1",
                parameters=1,
                inputs=[tensor],
                outputs=[tensor],
                runtime="onnxruntime",
                parity=Parity(max_abs_error="0", agreement="1", rows=1),
            ),
            entry=next(iter(files)),
            versions={},
            files=[
                FileRecord(path=path, sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
                for path, content in files.items()
            ],
        )
        (root / "manifest.json").write_bytes(encode_manifest(manifest))
        return root

    return make


@pytest.fixture
async def start_store(tmp_path: Path) -> AsyncIterator[StartStore]:
    """Start an embedded store, without authentication unless tokens are given; its URL."""
    async with AsyncExitStack() as running:

        async def start(root: Path | None = None, tokens: Authenticator | None = None) -> str:
            disk = running.enter_context(closing(BundleDisk(root or tmp_path / "archive")))
            app = StoreApp(disk, tokens, CollectorRegistry()).application()
            return await running.enter_async_context(served(app))

        yield start


@pytest.fixture
def known_tokens() -> KnownTokens:
    return KnownTokens()
