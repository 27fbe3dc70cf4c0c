"""A store that is slow is waited for while anything moves, and told when nothing does; real stores behind a relay."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from relay import Relay, relay
from store_bundles import content, make_bundle

from keras_api.reasons import Reason
from keras_store.bundle_store import BundleStore, bundle_store
from keras_store.errors import StepError
from keras_store.storage import Timeouts

SILENCE = 1.5  # seconds: a machine that runs other tests, too, may itself be still for one
SIZE = 12 << 20  # bytes


@pytest.fixture(autouse=True)
def impatience(monkeypatch: pytest.MonkeyPatch) -> None:
    """The product waits for 25 s."""
    monkeypatch.setattr("keras_store.bundle_store.STORE_TIMEOUTS", Timeouts(connect=1.0, silence=SILENCE))


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


async def silence_of(deed) -> tuple[StepError, float]:
    """How a step ends, and after how many seconds."""
    begin = time.monotonic()
    with pytest.raises(StepError) as caught:
        await deed
    return caught.value, time.monotonic() - begin


def is_told(error: StepError) -> bool:
    told = f"no answer in time (not a byte for {SILENCE:g} s): look whether the store, its volume or the network hangs"
    return error.reason is Reason.STORE_UNAVAILABLE and told in error.message


@pytest.mark.parametrize("after", [0, 4 << 20], ids=["at once", "in the middle"])
async def test_a_download_that_gets_stuck_is_told_after_two_silences(
    way: tuple[Relay, BundleStore], bundle: Path, tmp_path: Path, after: int
):
    slow, store = way
    await store.put("ns/m/rev", bundle)
    slow.down_until = slow.moved["down"] + after
    error, seconds = await silence_of(store.get("ns/m/rev", tmp_path / "back"))
    assert is_told(error)
    assert 2 * SILENCE <= seconds < 2 * SILENCE + 3


async def test_an_upload_that_gets_stuck_is_told_after_two_silences(way: tuple[Relay, BundleStore], bundle: Path):
    slow, store = way
    slow.up_until = SIZE // 3
    error, seconds = await silence_of(store.put("ns/m/rev", bundle))
    assert is_told(error)
    assert 2 * SILENCE <= seconds < 2 * SILENCE + 3


async def test_an_upload_that_is_never_answered_is_told(way: tuple[Relay, BundleStore], tmp_path: Path):
    slow, store = way
    little = make_bundle(tmp_path / "little", {"model.onnx": b"x"})
    slow.down_until = 100  # the first answer: there is no such bundle
    error, seconds = await silence_of(store.put("ns/m/rev", little))
    assert is_told(error)
    assert "model.onnx" in error.message
    assert 2 * SILENCE <= seconds < 2 * SILENCE + 3


async def test_what_trickles_is_waited_for(
    request: pytest.FixtureRequest, way: tuple[Relay, BundleStore], bundle: Path, tmp_path: Path
):
    """It takes several times as long as a silence may last."""
    slow, store = way
    in_parts = request.node.callspec.params["way"] == "bucket"  # one of 5 MiB must get through in a silence
    slow.up, slow.down = 6 << 20 if in_parts else SIZE / 2.5, SIZE / 4
    begin = time.monotonic()
    assert await store.put("ns/m/rev", bundle)
    middle = time.monotonic()
    await store.get("ns/m/rev", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)
    assert middle - begin > 0.9 * SIZE / slow.up > SILENCE
    assert time.monotonic() - middle > 2 * SILENCE
