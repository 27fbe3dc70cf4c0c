"""The registry of source schemes: a scheme is one module, and everything else is derived from it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from memory_scheme import FILES, MEMORY, PASSWORD

from keras_api.crd import custom_resource_definition
from keras_api.pod_part import PodPart
from keras_api.prepare_request import PrepareRequest
from keras_api.reasons import Reason
from keras_api.work_folder import WorkFolder
from keras_store.bundles.open import bundle_store
from keras_store.errors import StepError
from keras_store.fetch import fetch
from keras_store.sources.base import Scheme
from keras_store.sources.fingerprint import Fingerprint, fingerprint
from keras_store.sources.registry import (
    LOCAL_SCHEMES,
    SCHEMES,
    all_credential_keys,
    credential_keys,
    fixed_fingerprint,
    source_parts,
)

URI = "memory://here/models/m.keras"


@pytest.fixture
def content(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Registers the scheme of the tests, and puts a model at its address."""
    monkeypatch.setattr("keras_store.sources.registry.SCHEMES", (*SCHEMES, MEMORY))
    monkeypatch.setitem(FILES, URI, b"a model")
    return FILES[URI]


async def _fetch(work: Path, found: str, credentials: dict[str, str]) -> int | None:
    request = PrepareRequest(namespace="ns", model="m", revision="rev", fingerprint=found, uri=URI)
    async with bundle_store("file:///nowhere/at/all", {}) as store:
        return await fetch(request, store, WorkFolder(work), credentials, max_bytes=1000)


async def test_a_file_of_a_new_scheme_has_a_fingerprint_and_is_fetched(content: bytes, tmp_path: Path):
    credentials = {PASSWORD: "secret\n"}
    found = await fingerprint(URI, None, credentials)
    assert found == Fingerprint("7-b'a'", len(content))
    assert await _fetch(tmp_path, found.value, credentials) == len(content)
    assert (tmp_path / "source/model.keras").read_bytes() == content


async def test_a_file_of_a_new_scheme_that_was_replaced_is_not_fetched(content: bytes, tmp_path: Path):
    with pytest.raises(StepError) as caught:
        await _fetch(tmp_path, "another", {PASSWORD: "secret"})
    assert caught.value.reason is Reason.SOURCE_CHANGED


async def test_a_failure_of_a_new_scheme_has_a_reason(content: bytes):
    with pytest.raises(StepError, match=f"^{URI}: the password is wrong: .*secretRef") as caught:
        await fingerprint(URI, None, {})
    assert caught.value.reason is Reason.SOURCE_ACCESS_DENIED


def test_the_operator_knows_the_credentials_and_pod_parts_of_a_new_scheme(content: bytes):
    assert credential_keys(URI) == (PASSWORD,)
    assert PASSWORD in all_credential_keys()
    assert fixed_fingerprint(URI) is None
    assert source_parts([URI, "memory://away/rows.csv", "memory://here/rows.csv"], "reader") == PodPart(
        env=({"name": "REGIONS", "value": "away,here"},), env_from=({"secretRef": {"name": "reader"}},)
    )


def test_the_crd_accepts_and_documents_a_new_scheme():
    spec = _spec((*SCHEMES, MEMORY))
    source = spec["properties"]["source"]
    uri, secret = source["properties"]["uri"], source["properties"]["secretRef"]
    data = spec["properties"]["validation"]["properties"]["data"]
    for field in (uri, data):
        assert "|memory)://" in field["x-kubernetes-validations"][0]["rule"]
        assert MEMORY.rules[0] in field["x-kubernetes-validations"]
    assert MEMORY.option_rules[0] in source["x-kubernetes-validations"]
    assert "or memory://region/path" in uri["description"]
    assert "pvc or memory) of a .csv file" in data["x-kubernetes-validations"][0]["message"]
    assert f"{PASSWORD} for memory" in secret["description"]


def test_the_crd_contains_no_marker_and_no_placeholder():
    text = repr(custom_resource_definition(SCHEMES))
    assert "x-address" not in text
    assert "x-source-options" not in text
    assert not re.search(r"\{(addresses|schemes|credentials|unpolled)\}", text)


def _spec(schemes: tuple[Scheme, ...]) -> dict[str, Any]:
    version = custom_resource_definition(schemes)["spec"]["versions"][0]
    spec: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


@pytest.mark.parametrize("scheme", [*SCHEMES, *LOCAL_SCHEMES, MEMORY], ids=lambda scheme: scheme.forms[0])
def test_a_scheme_accepts_its_documented_forms_and_no_other(scheme: Scheme):
    for other in (*SCHEMES, *LOCAL_SCHEMES, MEMORY):
        for form in other.forms:
            assert (scheme.address(form) is not None) == (other is scheme)


CLAIMS = ["pvc://models/a/m.keras", "https://host/m.keras", "pvc://data.sets/rows.csv", "pvc://models/rows.csv"]


def test_a_fetch_container_mounts_each_claim_once_and_read_only():
    assert source_parts(CLAIMS, None) == PodPart(
        mounts=(
            {"name": "claim-0", "mountPath": "/volumes/data.sets", "readOnly": True},
            {"name": "claim-1", "mountPath": "/volumes/models", "readOnly": True},
        ),
        volumes=(
            {"name": "claim-0", "persistentVolumeClaim": {"claimName": "data.sets", "readOnly": True}},
            {"name": "claim-1", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},
        ),
    )


@pytest.mark.parametrize(
    ("secret", "part"),
    [
        (None, PodPart()),
        ("reader", PodPart(env_from=({"secretRef": {"name": "reader"}},))),
    ],
)
def test_a_fetch_container_gets_the_secret_as_environment(secret: str | None, part: PodPart):
    assert source_parts(["s3://models/m.keras"], secret) == part


@pytest.mark.parametrize(
    ("uri", "keys"),
    [
        ("s3://models/m.keras", ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")),
        ("http://host/m.keras", ("HTTP_BEARER_TOKEN", "HTTP_USERNAME", "HTTP_PASSWORD")),
        ("https://host/m.keras", ("HTTP_BEARER_TOKEN", "HTTP_USERNAME", "HTTP_PASSWORD")),
        ("pvc://models/m.keras", ()),
        ("unknown://host/m.keras", ()),
    ],
)
def test_an_address_has_the_credential_keys_of_its_scheme(uri: str, keys: tuple[str, ...]):
    assert credential_keys(uri) == keys


@pytest.mark.parametrize(
    ("uri", "polled"),
    [
        ("s3://models/m.keras", True),
        ("https://host/m.keras", True),
        ("pvc://models/m.keras", False),
    ],
)
def test_only_a_claim_is_not_polled(uri: str, polled: bool):
    assert (fixed_fingerprint(uri) is None) == polled


def test_the_registry_loads_neither_numpy_nor_obstore():
    """The operator imports it, and most operators never open an s3 address."""
    code = "import sys, keras_store.sources.registry; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert "keras_store.sources.s3" in loaded
    assert not {"numpy", "keras", "obstore"} & set(loaded)
