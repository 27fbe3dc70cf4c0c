"""Sources and bundles in a real S3 service (versitygw)."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import obstore
import pytest
import uvloop
from obstore.store import S3Store
from store_bundles import content, make_bundle

from keras_api.prepare_request import PrepareRequest
from keras_api.reasons import Reason
from keras_api.resource import S3Options
from keras_api.work_folder import WorkFolder
from keras_server.download import download
from keras_store.bundles.open import bundle_store
from keras_store.errors import StepError
from keras_store.fetch import fetch
from keras_store.sources.fingerprint import fingerprint

MODEL = b"a model"


@pytest.fixture
def uploaded(s3) -> str:
    """Address of a model that an S3 client has uploaded."""
    client = S3Store(
        "models",
        endpoint=s3.endpoint,
        region="us-east-1",
        access_key_id=s3.access_key,
        secret_access_key=s3.secret_key,
        client_options={"allow_http": True},
    )
    obstore.put(client, "team/digits.keras", MODEL)
    return "s3://models/team/digits.keras"


async def test_the_fingerprint_is_the_etag(s3, uploaded: str):
    found = await fingerprint(uploaded, S3Options(endpoint=s3.endpoint), s3.credentials)
    assert (found.value, found.size_bytes) == (hashlib.md5(MODEL).hexdigest(), len(MODEL))  # S3's own etag


async def test_a_file_put_into_the_bucket_by_hand_has_size_and_time(s3):
    (s3.folder / "models/by-hand.keras").write_bytes(MODEL)
    os.utime(s3.folder / "models/by-hand.keras", (0, 1_700_000_000))
    found = await fingerprint("s3://models/by-hand.keras", S3Options(endpoint=s3.endpoint), s3.credentials)
    assert found.value == f"size={len(MODEL)},modified=2023-11-14T22:13:20+00:00"


@pytest.mark.parametrize(
    "key", ["with space.keras", "prozent%20.keras", "plus+.keras", "模型.keras", "a@b.keras", "q?.keras"]
)
async def test_a_key_is_taken_literally(s3, key: str):
    (s3.folder / "models" / key).write_bytes(MODEL)
    assert (await fingerprint(f"s3://models/{key}", S3Options(endpoint=s3.endpoint), s3.credentials)).size_bytes == 7


async def test_a_model_is_fetched(s3, uploaded: str, tmp_path: Path):
    options = S3Options(endpoint=s3.endpoint)
    request = PrepareRequest(
        namespace="ns",
        model="m",
        revision="rev",
        fingerprint=(await fingerprint(uploaded, options, s3.credentials)).value,
        uri=uploaded,
        s3=options,
    )
    async with bundle_store(f"file://{tmp_path}/store", {}) as store:
        await fetch(request, store, WorkFolder(tmp_path / "work"), s3.credentials, max_bytes=len(MODEL))
    assert (tmp_path / "work/source/model.keras").read_bytes() == MODEL


@pytest.mark.parametrize(
    ("uri", "credentials", "reason", "says"),
    [
        ("s3://models/none.keras", {}, Reason.SOURCE_NOT_FOUND, "no such object"),
        ("s3://none/m.keras", {}, Reason.SOURCE_NOT_FOUND, "the bucket does not exist"),
        (
            "s3://models/team/digits.keras",
            {"AWS_SECRET_ACCESS_KEY": "wrong"},
            Reason.SOURCE_ACCESS_DENIED,
            "the secret access key is wrong",
        ),
        (
            "s3://models/team/digits.keras",
            {"AWS_ACCESS_KEY_ID": "nobody"},
            Reason.SOURCE_ACCESS_DENIED,
            "does not know the access key",
        ),
        (
            "s3://models/team/digits.keras",
            {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
            Reason.SOURCE_ACCESS_DENIED,
            "access denied",
        ),
    ],
    ids=["no object", "no bucket", "wrong secret", "unknown key", "anonymous"],
)
@pytest.mark.usefixtures("uploaded")
async def test_an_error_names_its_cause(s3, uri: str, credentials: dict[str, str], reason: Reason, says: str):
    with pytest.raises(StepError, match=says) as caught:
        await fingerprint(uri, S3Options(endpoint=s3.endpoint), s3.credentials | credentials)
    assert caught.value.reason is reason


async def test_a_bundle_comes_back_as_it_was_put(s3, tmp_path: Path):
    bundle = make_bundle(
        tmp_path / "bundle",
        {"model.onnx": os.urandom(20 << 20), "saved/variables/data 00:é#?.bin": b"x", "empty.bin": b""},
    )
    environ = {f"STORE_{name}": value for name, value in s3.credentials.items()}
    environ |= {"STORE_AWS_ENDPOINT_URL": s3.endpoint}
    async with bundle_store("s3://models/bundles/", environ) as store:
        assert await store.manifest("ns/m/rev") is None
        assert await store.put("ns/m/rev", bundle)
        assert not await store.put("ns/m/rev", bundle)
        await store.get("ns/m/rev", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle)
    assert (s3.folder / "models/bundles/ns/m/rev/manifest.json").is_file()


def test_a_server_gets_its_bundle_from_a_bucket_on_its_own_event_loop(
    s3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    bundle = make_bundle(tmp_path / "bundle", {"model.onnx": os.urandom(5 << 20)})
    for name, value in {**s3.credentials, "AWS_ENDPOINT_URL": s3.endpoint}.items():
        monkeypatch.setenv(f"STORE_{name}", value)

    async def put() -> None:
        async with bundle_store("s3://models/bundles") as store:
            assert await store.put("ns/of-a-server/rev", bundle)

    uvloop.run(put())
    uvloop.run(download("s3://models/bundles", "ns/of-a-server/rev", tmp_path / "back"))
    assert content(tmp_path / "back") == content(bundle)


async def test_a_store_in_a_bucket_that_does_not_exist_is_reported(s3, tmp_path: Path):
    bundle = make_bundle(tmp_path / "bundle", {"model.onnx": b"onnx"})
    environ = {f"STORE_{name}": value for name, value in s3.credentials.items()}
    environ |= {"STORE_AWS_ENDPOINT_URL": s3.endpoint}
    async with bundle_store("s3://none/bundles", environ) as store:
        with pytest.raises(StepError, match=r"the bucket does not exist.*chart's store settings") as caught:
            await store.put("ns/m/rev", bundle)
    assert caught.value.reason is Reason.STORE_UNAVAILABLE
