"""Lookups of bundles: when the store is queried, how its answers are interpreted, and the backoff after failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import msgspec
import pytest
from aiohttp import web
from operator_makers import KEY, SETTINGS, ago, failure, job, model, observed_state, pod, summary

from keras_api.manifest import Manifest, ModelSummary, RejectedRuntime, SourceRecord, encode_manifest
from keras_api.reasons import Reason
from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import ApiError
from keras_operator.kube.kinds import JOB, Object
from keras_operator.lookups.bundle_lookup import BACKOFF_SECONDS, BundleLookup
from keras_operator.state.source_resolution import SourceResolution
from keras_operator.tasks import PREPARE
from keras_store.sources.fingerprint import Fingerprint

REVISION = observed_state(model()).revision
KEYS = {"STORE_AWS_ACCESS_KEY_ID": "key", "STORE_AWS_SECRET_ACCESS_KEY": "secret"}


def manifest(revision: str = REVISION, of: ModelSummary | None = None) -> bytes:
    described = of or summary("tensorflow")
    source = SourceRecord(uri="s3://m/m.keras", fingerprint="f", digest=described.digest, size_bytes=1)
    return encode_manifest(
        Manifest(revision=revision, source=source, model=described, entry="model.onnx", versions={}, files=[])
    )


class Store:
    """A store with a configurable response, which records requests."""

    def __init__(self) -> None:
        self.status = 200
        self.content = manifest()
        self.paths: list[str] = []
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        return web.Response(status=self.status, body=self.content if self.status == 200 else b"")


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    subject, app = Store(), web.Application()
    app.router.add_get("/{path:.*}", subject.answer)
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    subject.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield subject
    await runner.cleanup()


class Secrets:
    """A client that only reads Secrets."""

    def __init__(self, **secrets: dict[str, str]) -> None:
        self.secrets = secrets

    async def secret(self, namespace: str, name: str) -> dict[str, str] | None:
        if name == "forbidden":
            raise ApiError(403, "no", f"get secret {name}")
        return self.secrets.get(name)


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@asynccontextmanager
async def lookup_in(
    store: Store, secrets: Secrets | None = None, clock: Clock | None = None, **settings: str
) -> AsyncIterator[BundleLookup]:
    changed = replace(SETTINGS, **{"store_url": store.url, **settings})  # type: ignore[arg-type]
    async with BundleLookup(cast(KubeClient, secrets or Secrets()), changed, PREPARE, {}, clock or Clock()) as lookup:
        yield lookup


async def test_a_stored_bundle_is_found(store: Store) -> None:
    async with lookup_in(store) as lookup:
        assert await lookup.get(model(), observed_state(model())) == summary("tensorflow")
    assert store.paths == [f"/team-a/digits/{REVISION}/manifest.json"]


async def test_a_revision_is_looked_up_once(store: Store) -> None:
    async with lookup_in(store) as lookup:
        for _ in range(3):
            assert await lookup.get(model(), observed_state(model())) is not None
    assert len(store.paths) == 1


async def test_another_revision_is_looked_up_again(store: Store) -> None:
    async with lookup_in(store) as lookup:
        await lookup.get(model(), observed_state(model()))
        other = observed_state(model(), resolution=SourceResolution(Fingerprint("etag-2", 1)))
        assert await lookup.get(model(), other) is None, "the manifest is of another revision"
    assert len(store.paths) == 2


async def test_a_new_model_of_the_same_name_is_looked_up_again(store: Store) -> None:
    subject = model()
    again = msgspec.structs.replace(subject, metadata=msgspec.structs.replace(subject.metadata, uid="another"))
    async with lookup_in(store) as lookup:
        store.status = 404
        assert await lookup.get(subject, observed_state(subject)) is None
        store.status = 200
        assert await lookup.get(again, observed_state(again)) is not None


KNOWN = {"preparedRevision": REVISION, "model": msgspec.to_builtins(summary())}


def pod_without_its_bundle() -> Object:
    """A serving pod that reports its bundle as incomplete."""
    lost = failure(REVISION, Reason.BUNDLE_INVALID)
    lost["terminated"]["finishedAt"] = ago(60)
    return pod("server", REVISION, containerStatuses=[{"name": "server", "lastState": lost}])


@pytest.mark.parametrize(
    ("status", "situation"),
    [
        ({}, {"resolution": SourceResolution()}),
        (KNOWN, {}),
        ({}, {"children": [(JOB, job(REVISION))]}),
        ({}, {"pods": (pod_without_its_bundle(),)}),
        (KNOWN, {"pods": (pod_without_its_bundle(),)}),
    ],
    ids=[
        "source unknown",
        "status has the answer",
        "a Job exists",
        "a pod reports it as incomplete",
        "lost after it was served",
    ],
)
async def test_the_store_is_queried_only_if_nothing_else_has_the_answer(
    store: Store, status: Any, situation: Any
) -> None:
    subject = model(status)
    async with lookup_in(store) as lookup:
        assert await lookup.get(subject, observed_state(subject, *situation.pop("children", ()), **situation)) is None
    assert store.paths == []


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_a_store_that_fails_is_not_queried_during_the_backoff(store: Store, status: int) -> None:
    store.status = status
    observed, clock = observed_state(model()), Clock()
    async with lookup_in(store, clock=clock) as lookup:
        for _ in range(3):
            assert await lookup.get(model(), observed) is None
            lookup.forget(KEY)
        assert len(store.paths) == 1
        clock.seconds = BACKOFF_SECONDS
        store.status = 200
        assert await lookup.get(model(), observed) is not None


async def test_a_lookup_has_a_timeout(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_operator.lookups.bundle_lookup.ANSWER_SECONDS", 0.0)
    async with lookup_in(store) as lookup:
        assert await lookup.get(model(), observed_state(model())) is None


async def test_an_unreachable_store_is_no_error(store: Store) -> None:
    async with lookup_in(store, store_url="http://127.0.0.1:1") as lookup:
        assert await lookup.get(model(), observed_state(model())) is None


def of_another_revision() -> bytes:
    return manifest("other")


def not_json() -> bytes:
    return b"<html>"


def of_unlimited_size() -> bytes:
    return b" " * (5 << 20)


def with_a_summary_too_long_for_status() -> bytes:
    return manifest(of=msgspec.structs.replace(summary(), runtime="x" * 5000))


@pytest.mark.parametrize(
    "content", [of_another_revision, not_json, of_unlimited_size, with_a_summary_too_long_for_status]
)
async def test_an_invalid_manifest_is_left_to_the_job(store: Store, content: Callable[[], bytes]) -> None:
    store.content = content()
    async with lookup_in(store) as lookup:
        assert await lookup.get(model(), observed_state(model())) is None
        store.content = manifest()
        lookup.forget(KEY)
        assert await lookup.get(model(), observed_state(model())) is not None, "the store itself has not failed"


async def test_a_long_summary_is_truncated_like_that_of_a_report(store: Store) -> None:
    long = [RejectedRuntime(runtime="onnxruntime", reason="why " * 5000)]
    store.content = manifest(of=msgspec.structs.replace(summary(), rejected_runtimes=long))
    async with lookup_in(store) as lookup:
        found = await lookup.get(model(), observed_state(model()))
    assert found is not None
    assert len(found.rejected_runtimes[0].reason) == 200


@pytest.mark.parametrize(
    ("secret", "queried"),
    [("", False), ("absent", False), ("forbidden", False), ("half", False), ("store", True)],
)
async def test_a_bucket_is_queried_with_the_credentials_of_the_namespace(
    store: Store, secret: str, queried: bool
) -> None:
    complete = {**KEYS, "STORE_AWS_ENDPOINT_URL": store.url}
    half = {"STORE_AWS_ACCESS_KEY_ID": "key", "STORE_AWS_ENDPOINT_URL": store.url}
    secrets = Secrets(store=complete, half=half)
    async with lookup_in(store, secrets, store_url="s3://bucket/prefix", store_secret=secret) as lookup:
        found = await lookup.get(model(), observed_state(model()))
    assert (found is not None) == queried
    assert store.paths == ([f"/bucket/prefix/team-a/digits/{REVISION}/manifest.json"] if queried else [])
