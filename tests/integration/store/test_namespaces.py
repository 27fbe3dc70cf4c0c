"""Two namespaces and one store: each reads and writes its own bundles, by tokens that a real API server reviews."""

from __future__ import annotations

import base64
import json
import subprocess
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from store_bundles import content, make_bundle

from keras_api.reasons import Reason
from keras_store.bundles.open import bundle_store
from keras_store.errors import StepError

Environment = Callable[[str], dict[str, str]]


@pytest.fixture
def revision() -> str:
    """A revision of the test's own."""
    return uuid.uuid4().hex[:10]


@pytest.fixture
async def bundle_of_a(store, cluster, token_file: Environment, tmp_path: Path, revision: str) -> Path:
    """A bundle that team-a has put into the store."""
    folder = make_bundle(tmp_path / "of-a", {"model.onnx": b"of team a"}, revision)
    async with bundle_store(store.url, token_file(cluster.token("team-a"))) as bundles:
        assert await bundles.put(f"team-a/m/{revision}", folder)
    return folder


async def test_a_team_gets_what_it_put(
    store, cluster, token_file: Environment, bundle_of_a: Path, revision: str, tmp_path: Path
):
    cluster.account("team-a", "other-model")
    async with bundle_store(store.url, token_file(cluster.token("team-a", "other-model"))) as bundles:
        await bundles.get(f"team-a/m/{revision}", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle_of_a)


async def test_another_team_cannot_read_it(
    store, cluster, token_file: Environment, bundle_of_a: Path, revision: str, tmp_path: Path
):
    async with bundle_store(store.url, token_file(cluster.token("team-b"))) as bundles:
        with pytest.raises(StepError, match="pods of namespace team-b have no access to /team-a/") as caught:
            await bundles.get(f"team-a/m/{revision}", tmp_path / "back")
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


async def test_another_team_cannot_overwrite_it(
    store, cluster, token_file: Environment, bundle_of_a: Path, revision: str, tmp_path: Path
):
    other = make_bundle(tmp_path / "of-b", {"model.onnx": b"of team b"}, revision)
    token = cluster.token("team-b")
    for path in ("model.onnx", "manifest.json", "more"):
        assert put(f"{store.url}/team-a/m/{revision}/{path}", token, other / "model.onnx") == 403
    async with bundle_store(store.url, token_file(cluster.token("team-a"))) as bundles:
        await bundles.get(f"team-a/m/{revision}", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle_of_a)


async def test_another_team_cannot_write_to_its_path(
    store, cluster, token_file: Environment, revision: str, tmp_path: Path
):
    other = make_bundle(tmp_path / "of-b", {"model.onnx": b"of team b"}, revision)
    async with bundle_store(store.url, token_file(cluster.token("team-b"))) as bundles:
        with pytest.raises(StepError, match="no access to /team-a/"):
            await bundles.put(f"team-a/m/{revision}", other)


async def test_the_team_itself_cannot_change_it(store, cluster, bundle_of_a: Path, revision: str, tmp_path: Path):
    (tmp_path / "changed").write_bytes(b"changed")
    token = cluster.token("team-a")
    assert put(f"{store.url}/team-a/m/{revision}/model.onnx", token, tmp_path / "changed") == 409


async def test_both_teams_may_have_the_same_model_and_revision(
    store, cluster, token_file: Environment, bundle_of_a: Path, revision: str, tmp_path: Path
):
    of_b = make_bundle(tmp_path / "of-b", {"model.onnx": b"of team b"}, revision)
    async with bundle_store(store.url, token_file(cluster.token("team-b"))) as bundles:
        assert await bundles.put(f"team-b/m/{revision}", of_b)
        await bundles.get(f"team-b/m/{revision}", tmp_path / "back")
    assert content(tmp_path / "back") == content(of_b) != content(bundle_of_a)


def read_token(cluster, namespace: str) -> str:
    """A token as serving pods have it."""
    return cluster.token(namespace, "model", audience="keras-store-read")


async def test_a_read_only_token_gets_the_bundles_of_its_own_team(
    store, cluster, token_file: Environment, bundle_of_a: Path, revision: str, tmp_path: Path
):
    async with bundle_store(store.url, token_file(read_token(cluster, "team-a"))) as bundles:
        await bundles.get(f"team-a/m/{revision}", tmp_path / "back")
    assert content(tmp_path / "back") == content(bundle_of_a)


@pytest.mark.parametrize("file", ["model.onnx", "manifest.json", "more"])
async def test_a_read_only_token_cannot_write(store, cluster, tmp_path: Path, file: str, revision: str):
    (tmp_path / "content").write_bytes(b"content")
    url = f"{store.url}/team-a/m/{revision}/{file}"
    assert put(url, read_token(cluster, "team-a"), tmp_path / "content") == 403
    assert get(url, cluster.token("team-a")) == 404


async def test_a_read_only_token_cannot_read_bundles_of_another_team(
    store, cluster, bundle_of_a: Path, revision: str, tmp_path: Path
):
    for file in content(bundle_of_a):
        assert get(f"{store.url}/team-a/m/{revision}/{file}", read_token(cluster, "team-b")) == 403


def operator_token(cluster) -> str:
    """A token of the account that is the reader of the store."""
    return cluster.token("keras-system", "operator")


async def test_the_operator_reads_the_manifests_of_all_teams(
    store, cluster, token_file: Environment, bundle_of_a: Path, revision: str
):
    async with bundle_store(store.url, token_file(operator_token(cluster))) as bundles:
        manifest = await bundles.manifest(f"team-a/m/{revision}")
    assert manifest is not None
    assert manifest.revision == revision


async def test_the_operator_can_only_read_manifests(
    store, cluster, token_file: Environment, bundle_of_a: Path, revision: str, tmp_path: Path
):
    async with bundle_store(store.url, token_file(operator_token(cluster))) as bundles:
        with pytest.raises(StepError, match="may only read manifests"):
            await bundles.get(f"team-a/m/{revision}", tmp_path / "back")
    assert content(tmp_path / "back") == {}


@pytest.mark.parametrize("namespace", ["team-a", "keras-system"])
@pytest.mark.parametrize("file", ["manifest.json", "model.onnx"])
async def test_the_operator_cannot_write(store, cluster, tmp_path: Path, namespace: str, file: str, revision: str):
    folder = make_bundle(tmp_path / "bundle", {"model.onnx": b"of nobody"}, revision)
    assert put(f"{store.url}/{namespace}/m/{revision}/{file}", operator_token(cluster), folder / file) == 403


async def test_an_account_with_the_operators_name_in_another_namespace_has_no_access(
    store, cluster, token_file: Environment, bundle_of_a: Path, revision: str
):
    for namespace, account in (("team-b", "operator"), ("keras-system", "model")):
        async with bundle_store(store.url, token_file(cluster.token(namespace, account))) as bundles:
            with pytest.raises(StepError, match="no access to /team-a/"):
                await bundles.manifest(f"team-a/m/{revision}")


def wrong_audience(cluster) -> str:
    return cluster.token("team-a", "model", audience="somebody-else")


def for_the_api_server(cluster) -> str:
    return cluster.kubectl("create", "token", "model", "--namespace=team-a")


def expired(cluster) -> str:
    return signed_again(cluster, exp=1_600_000_000)


def not_yet_valid(cluster) -> str:
    return signed_again(cluster, nbf=4_000_000_000)


def forged(cluster) -> str:
    head, _, signature = cluster.token("team-b").split(".")
    return f"{head}.{cluster.token('team-a').split('.')[1]}.{signature}"


def of_a_deleted_account(cluster) -> str:
    name = f"gone-{uuid.uuid4().hex[:6]}"
    cluster.account("team-a", name)
    token = cluster.token("team-a", name)
    cluster.kubectl("delete", "serviceaccount", name, "--namespace=team-a")
    return token


def garbage(_) -> str:
    return "garbage"


def enormous(_) -> str:
    return "x" * 7_000


@pytest.mark.parametrize(
    "make",
    [wrong_audience, for_the_api_server, expired, not_yet_valid, forged, of_a_deleted_account, garbage, enormous],
    ids=lambda make: make.__name__,
)
async def test_an_invalid_token_gives_no_access(store, cluster, token_file: Environment, make: Callable):
    async with bundle_store(store.url, token_file(make(cluster))) as bundles:
        with pytest.raises(StepError, match=r"answers 401 .*token") as caught:
            await bundles.manifest("team-a/m/rev")
    assert caught.value.reason is Reason.STORE_UNAVAILABLE


async def test_a_request_without_a_token_has_no_access(store):
    async with bundle_store(store.url, {}) as bundles:
        with pytest.raises(StepError, match="a ServiceAccount token is required"):
            await bundles.manifest("team-a/m/rev")


async def test_a_token_that_was_signed_again_unchanged_is_valid(store, cluster, token_file: Environment):
    """The tests of expired tokens depend on valid signatures."""
    async with bundle_store(store.url, token_file(signed_again(cluster))) as bundles:
        assert await bundles.manifest("team-a/m/none") is None


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keras_store.retry.random.uniform", lambda *_: 0.0)


@pytest.mark.usefixtures("no_pauses")
async def test_a_store_without_the_right_to_review_tokens_logs_the_missing_right(
    cluster, run_store: Callable, token_file: Environment, tmp_path: Path
):
    (tmp_path / "own-token").write_text(cluster.kubectl("create", "token", "model", "--namespace=team-b"))
    powerless = run_store(
        tmp_path,
        f"--kubernetes-url={cluster.server.url}",
        f"--kubernetes-ca={cluster.ca_file}",
        f"--kubernetes-token-file={tmp_path / 'own-token'}",
    )
    async with bundle_store(powerless.url, token_file(cluster.token("team-a"))) as bundles:
        with pytest.raises(StepError, match=r"answers 503 .*cannot check tokens"):
            await bundles.manifest("team-a/m/rev")
    assert "the verb create on tokenreviews" in powerless.log.read_text()


@pytest.mark.usefixtures("no_pauses")
async def test_without_the_api_server_no_token_is_accepted(
    cluster, run_store: Callable, free_port: Callable[[], int], token_file: Environment, tmp_path: Path
):
    (tmp_path / "own-token").write_text("any")
    lonely = run_store(
        tmp_path,
        f"--kubernetes-url=https://127.0.0.1:{free_port()}",
        f"--kubernetes-ca={cluster.ca_file}",
        f"--kubernetes-token-file={tmp_path / 'own-token'}",
    )
    async with bundle_store(lonely.url, token_file(cluster.token("team-a"))) as bundles:
        with pytest.raises(StepError, match=r"answers 503 .*no answer from the API server"):
            await bundles.manifest("team-a/m/rev")


def put(url: str, token: str, file: Path) -> int:
    """The status of an upload as an attacker would send it."""
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-T", str(file), "-m", "10"]
    done = subprocess.run([*command, "-H", f"Authorization: Bearer {token}", url], check=True, capture_output=True)
    return int(done.stdout)


def get(url: str, token: str) -> int:
    """The status of a download."""
    command = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-m", "10"]
    done = subprocess.run([*command, "-H", f"Authorization: Bearer {token}", url], check=True, capture_output=True)
    return int(done.stdout)


def signed_again(cluster, **claims: int) -> str:
    """A real token with other claims, signed with the API server's key: a test cannot wait until a token expires."""
    head, body, _ = cluster.token("team-a").split(".")
    content = json.loads(base64.urlsafe_b64decode(body + "==")) | claims
    body = encoded(json.dumps(content).encode())
    key = cluster.server.folder / "pki" / "service-account.key"
    command = ["openssl", "dgst", "-sha256", "-sign", key]
    done = subprocess.run(command, input=f"{head}.{body}".encode(), check=True, capture_output=True)
    return f"{head}.{body}.{encoded(raw_signature(done.stdout))}"


def raw_signature(der: bytes) -> bytes:
    """An ECDSA signature as a JWT has it: two numbers of 32 bytes, from `30 len 02 len r 02 len s`."""
    r_end = 4 + der[3]
    numbers = (der[4:r_end], der[r_end + 2 :])
    return b"".join(int.from_bytes(number).to_bytes(32) for number in numbers)


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
