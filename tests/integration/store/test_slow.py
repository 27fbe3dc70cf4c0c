"""Timeouts apply to idle transfers only, however slow a transfer is; real stores behind a relay."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from relay import Relay, relay
from store_bundles import content, make_bundle

from keras_api.reasons import Reason
from keras_store.bundles.open import bundle_store
from keras_store.bundles.store import BundleStore
from keras_store.errors import StepError
from keras_store.storage.base import Timeouts

IDLE = 1.5  # seconds: a machine that also runs other tests may pause for one
SIZE = 12 << 20  # bytes


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product has an idle timeout of 25 s."""
    monkeypatch.setattr("keras_store.bundles.open.STORE_TIMEOUTS", Timeouts(connect=1.0, idle=IDLE))


@pytest.fixture(params=["embedded", "bucket"])
async def way(
    request: pytest.FixtureRequest, run_store: Callable, tmp_path: Path
) -> AsyncIterator[tuple[Relay, BundleStore]]:
    """A relay, and the store behind it."""
    if request.param == "embedded":
        direct = run_store(tmp_path, "--insecure-no-auth").url
    else:
        s3 = request.getfixturevalue("s3")
        direct = s3.endpoint
    async with relay(direct) as slow:
        url, environ = slow.url, {}
        if request.param == "bucket":
            url = f"s3://models/{request.node.nodeid.replace('/', '-')}"
            environ = {f"STORE_{name}": value for name, value in s3.credentials.items()}
            environ["STORE_AWS_ENDPOINT_URL"] = slow.url
        async with bundle_store(url, environ) as store:
            yield slow, store


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return make_bundle(tmp_path / "bundle", {"model.onnx": os.urandom(SIZE), "golden.npz": b"x"})


async def failure_of(deed) -> tuple[StepError, float]:
    """The error of a step, and its duration in seconds."""
    begin = time.monotonic()
    with pytest.raises(StepError) as caught:
        await deed
    return caught.value, time.monotonic() - begin


def is_reported(error: StepError) -> bool:
    told = f"no answer in time (no data for {IDLE:g} s): check the store, its volume and the network"
    return error.reason is Reason.STORE_UNAVAILABLE and told in error.message


@pytest.mark.parametrize("after", [0, 4 << 20], ids=["at once", "in the middle"])
async def test_a_stalled_download_is_reported_after_two_idle_timeouts(
    way: tuple[Relay, BundleStore], bundle: Path, tmp_path: Path, after: int
):
    slow, store = way
    await store.put("ns/m/rev", bundle)
    slow.down_until = slow.moved["down"] + after
    error, seconds = await failure_of(store.get("ns/m/rev", tmp_path / "back"))
    assert is_reported(error)
    assert 2 * IDLE <= seconds < 2 * IDLE + 3


async def test_a_stalled_upload_is_reported_after_two_idle_timeouts(way: tuple[Relay, BundleStore], bundle: Path):
    slow, store = way
    slow.up_until = SIZE // 3
    error, seconds = await failure_of(store.put("ns/m/rev", bundle))
    assert is_reported(error)
    assert 2 * IDLE <= seconds < 2 * IDLE + 3


async def test_an_upload_without_an_answer_is_reported(way: tuple[Relay, BundleStore], tmp_path: Path):
    slow, store = way
    little = make_bundle(tmp_path / "little", {"model.onnx": b"x"})
    slow.down_until = 100  # the first answer: there is no such bundle
    error, seconds = await failure_of(store.put("ns/m/rev", little))
    assert is_reported(error)
    assert "model.onnx" in error.message
    assert 2 * IDLE <= seconds < 2 * IDLE + 3


async def test_a_slow_transfer_is_not_interrupted(
    request: pytest.FixtureRequest, way: tuple[Relay, BundleStore], bundle: Path, tmp_path: Path
):
    """It takes several times as long as the idle timeout."""
    slow, store = way
    in_parts = request.node.callspec.params["way"] == "bucket"  # one of 5 MiB must pass within the idle timeout
    slow.up, slow.down = 6 << 20 if in_parts else SIZE / 2.5, SIZE / 4
    begin = time.monotonic()
    assert await store.put("ns/m/rev", bundle)
    middle = time.monotonic()
    await store.get("ns/m/rev", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)
    assert middle - begin > 0.9 * SIZE / slow.up > IDLE
    assert time.monotonic() - middle > 2 * IDLE
