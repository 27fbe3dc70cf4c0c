"""Interruptions between the operator and the API: after each the operator converges, and repeats no write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Event
from types import MappingProxyType

import pytest
from cluster.apiserver import SERVICE_MONITOR_CRD, ApiServer
from fault_source import FaultSource
from faulty_api import FaultyApi, delayed, kills, preceded_by, responds_with, unanswered
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

CHILDREN = ("serviceaccounts", "services", "deployments", "jobs")
SERVICE_MONITORS = "/apis/monitoring.coreos.com/v1"
LABEL = "keras-operator.dev/model"
SLOW_SECONDS = 10


@pytest.fixture(scope="module")
def api_server(quiet_api_server: ApiServer) -> ApiServer:
    return quiet_api_server


@pytest.fixture(scope="module")
def kube(api_server: ApiServer) -> Kube:
    """A client with all permissions, which bypasses the faults."""
    return Kube(api_server.kubeconfig)


@pytest.fixture(scope="module")
def proxy(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyApi]:
    with FaultyApi(api_server.kubeconfig, tmp_path_factory.mktemp("proxy") / "kubeconfig") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operator(proxy: FaultyApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator behind the proxy; its request timeout is a little longer than the slowest response here."""
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(proxy.kubeconfig, folder / "log", request_timeout=f"{SLOW_SECONDS + 4}s") as process:
        yield process


@pytest.fixture
def api(proxy: FaultyApi) -> Iterator[FaultyApi]:
    """The proxy between the operator and the API, without faults after the test."""
    yield proxy
    proxy.clear_faults()


@pytest.fixture
def model(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


@pytest.fixture
def monitored(model: ModelFixture, operator: OperatorProcess) -> Iterator[ModelFixture]:
    """A model in a cluster that serves ServiceMonitors."""
    with operator.relaunching():
        model.kube.create(SERVICE_MONITOR_CRD)
        yield model
        model.kube.delete_crd("servicemonitors.monitoring.coreos.com")
        wait_until(lambda: not model.kube.serves(SERVICE_MONITORS), "the removal of the kind ServiceMonitor")


def _upgrade(model: ModelFixture, **spec: object) -> str:
    """Roll out the next revision of a served model. Returns that revision."""
    first = model.status()["servingRevision"]
    model.change(**spec)
    second = _next_revision(model, first)
    _finish_upgrade(model, first, second)
    return second


def _next_revision(model: ModelFixture, first: str) -> str:
    found: str = wait_until(
        lambda: (found := model.status().get("desiredRevision")) != first and found, "another desired revision"
    )
    return found


def _finish_upgrade(model: ModelFixture, first: str, second: str) -> None:
    """Act as the kubelet until the second revision is served and the first one's Job is deleted."""
    model.kubelet.complete_prepare(model.name, second)
    model.kubelet.make_servers_ready(model.name, revision=second)
    model.wait_for("Ready", "True", "Serving")
    wait_until(lambda: model.child("jobs", f"digits-prepare-{first}") is None, "the first revision's Job to be deleted")


def _assert_no_orphans(model: ModelFixture, revision: str) -> None:
    """There is one child of each kind, and the model owns all of them."""
    owner = model.resource()["metadata"]["uid"]
    found = [(child["metadata"]["name"], child["metadata"]["ownerReferences"][0]["uid"]) for child in _children(model)]
    assert found == [(name, owner) for name in ("digits", "digits", "digits", f"digits-prepare-{revision}")]


def _assert_no_duplicate_writes(
    api: FaultyApi, model: ModelFixture, first: str, second: str, more: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Each of two revisions had one Job, and no child was applied needlessly."""
    jobs = [f"digits-prepare-{revision}" for revision in (first, second)]
    assert api.created("jobs", model.namespace) == dict.fromkeys(jobs, 1)
    applied = {f"jobs {job}": 1 for job in jobs}
    applied |= {"serviceaccounts digits": 1, "services digits": 1, "deployments digits": 2, **more}
    assert api.applied(model.namespace) == applied
    _assert_no_orphans(model, second)


def _children(model: ModelFixture, name: str = "digits") -> list[Object]:
    return [child for plural in CHILDREN for child in model.kube.list(plural, model.namespace, f"{LABEL}={name}")]


def _known_models(operator: OperatorProcess) -> float:
    return sum(value for name, value in operator.metrics().items() if name.startswith("keras_operator_models{"))


def _failed_reconciles(operator: OperatorProcess) -> float:
    return operator.metrics().get('keras_operator_reconcile_duration_seconds_count{result="error"}', 0)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("what", "skip"),
    [
        ("apply serviceaccounts", 0),
        ("apply services", 0),
        ("apply jobs", 0),
        ("patch kerasmodels/status", 0),  # the status Preparing
        ("patch kerasmodels/status", 1),  # the result of prepare
        ("apply deployments", 0),
        ("create events", 0),
        ("delete jobs", 0),
    ],
)
def test_the_operator_continues_after_a_kill_at_any_write(
    model: ModelFixture,
    source: FaultSource,
    api: FaultyApi,
    operator: OperatorProcess,
    what: str,
    skip: int,
    moment: str,
) -> None:
    kill = api.inject(what, kills(operator, moment), skip=skip)
    first = model.serve(source.url)
    second = _upgrade(model, serving={"runtime": "onnxruntime"})
    wait_until(operator.is_ready, "the operator to be ready again")
    assert kill.is_done
    _assert_no_duplicate_writes(api, model, first, second)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("verb", ["apply", "delete"])
def test_the_operator_continues_after_a_kill_at_a_write_to_a_service_monitor(
    monitored: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess, verb: str, moment: str
) -> None:
    kill = api.inject(f"{verb} servicemonitors", kills(operator, moment))
    first = monitored.serve(source.url)
    monitored.wait_for("MonitoringReady", "True", "ServiceMonitorApplied")
    second = _upgrade(monitored, serving={"runtime": "onnxruntime"}, monitoring={"serviceMonitor": {"enabled": False}})
    wait_until(lambda: monitored.child("servicemonitors") is None, "the ServiceMonitor to be deleted")
    wait_until(operator.is_ready, "the operator to be ready again")
    assert kill.is_done
    _assert_no_duplicate_writes(api, monitored, first, second, {"servicemonitors digits": 1})


def test_deletions_during_a_watch_gap_are_detected_after_410_gone(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    other = ModelFixture(model.kube, model.namespace, "letters")
    other.create(source.url)
    model.serve(source.url)
    with api.without_watches():
        model.kube.delete("kerasmodels", model.namespace, "letters")
        model.kube.delete("services", model.namespace, "digits")
    model.wait_for_child("services")
    wait_until(lambda: _known_models(operator) == 1, "the deleted model to be removed from the cache")
    wait_until(lambda: not _children(model, "letters"), "the garbage collection of the deleted model's children")


def test_the_deletion_of_the_last_model_during_a_watch_gap_is_detected_after_410_gone(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    model.serve(source.url)
    with api.without_watches():
        model.kube.delete("kerasmodels", model.namespace, "digits")
    wait_until(lambda: _known_models(operator) == 0, "the deleted model to be removed from the cache")
    wait_until(lambda: not _children(model, "digits"), "the garbage collection of the deleted model's children")


def test_bursts_of_errors_are_retried(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    bursts = [
        api.inject("apply *", responds_with(429, retry_after=1), times=2),
        api.inject("apply *", responds_with(500), times=2),
        api.inject("patch kerasmodels/status", responds_with(500), times=2),
        api.inject("create events", responds_with(429, retry_after=1)),
        api.inject("delete jobs", responds_with(500)),
    ]
    first = model.serve(source.url)
    second = _upgrade(model, serving={"runtime": "onnxruntime"})
    assert all(burst.is_done for burst in bursts)
    _assert_no_duplicate_writes(api, model, first, second)


def test_retry_after_of_the_api_server_is_respected(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    rejected = api.inject("apply jobs", responds_with(429, retry_after=3))
    model.create(source.url)
    wait_until(lambda: api.created("jobs", model.namespace), "the Job")
    created = next(call.time for call in api.calls if call.what == "apply jobs" and call.namespace == model.namespace)
    assert created - rejected.time >= 3


def test_a_rejected_status_is_not_mistaken_for_a_deleted_model(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    before = _failed_reconciles(operator)
    rejected = api.inject("patch kerasmodels/status", responds_with(422), times=2)
    model.serve(source.url)
    assert rejected.is_done
    assert _failed_reconciles(operator) - before == 2


def test_a_status_of_a_deleted_model_is_not_written_to_its_successor(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    before = _failed_reconciles(operator)
    is_recreated = Event()

    def recreate() -> None:
        model.kube.delete("kerasmodels", model.namespace, model.name)
        model.create(source.url, serving={"replicas": 2})
        is_recreated.set()

    api.inject("patch kerasmodels/status", preceded_by(recreate))
    model.create(source.url)
    wait_until(is_recreated.is_set, "the model to be recreated")
    wait_until(lambda: model.status().get("desiredRevision"), "its status")
    first = next(call for call in api.calls if call.what.startswith("patch") and call.namespace == model.namespace)
    assert (first.what, first.status) == ("patch kerasmodels/status", 422)
    assert _failed_reconciles(operator) == before


def test_rejected_watches_are_retried(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    model.serve(source.url)
    bursts = [
        api.inject("watch *", responds_with(429, retry_after=1), times=3),
        api.inject("watch *", responds_with(500), times=6),
    ]
    api.close_watches()
    wait_until(lambda: all(burst.is_done for burst in bursts), "the watches to be rejected")
    model.kube.delete("services", model.namespace, "digits")
    model.wait_for_child("services")


def test_a_watch_that_fails_permanently_ends_the_process_and_the_next_one_continues(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    model.serve(source.url)
    rejected = api.inject("watch services", responds_with(404))
    with operator.relaunching():
        api.close_watches()
        wait_until(lambda: rejected.is_done, "the watch to be rejected")
        for _ in range(2):
            model.kube.delete("services", model.namespace, "digits")
            model.wait_for_child("services")
    assert "a watch failed permanently" in operator.tail()


def test_a_response_that_takes_ten_seconds_is_awaited(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    first = model.serve(source.url)
    slow = api.inject("apply deployments", delayed(SLOW_SECONDS), times=99)
    model.change(serving={"replicas": 2})
    model.kubelet.make_servers_ready("digits", 2)
    model.wait_for("Ready", "True", "Serving")
    assert slow.count == 1
    assert api.applied(model.namespace)["deployments digits"] == 2
    _assert_no_orphans(model, first)


def test_the_operator_starts_and_works_while_every_response_takes_ten_seconds(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    model.serve(source.url)
    slow = api.inject("*", delayed(SLOW_SECONDS), times=9999)
    operator.kill_and_relaunch()
    model.change(serving={"replicas": 2})
    wait_until(lambda: model.wait_for_child("deployments")["spec"]["replicas"] == 2, "the change", timeout=280)
    assert slow.count > 10
    api.clear_faults()
    model.kubelet.make_servers_ready("digits", 2)
    model.wait_for("Ready", "True", "Serving")
    assert operator.is_ready(), "the same process continues"


def test_a_request_without_a_response_is_retried_and_delays_no_other_model(
    model: ModelFixture, source: FaultSource, api: FaultyApi, operator: OperatorProcess
) -> None:
    unanswered_request = api.inject("apply jobs", unanswered())
    model.create(source.url)
    wait_until(lambda: unanswered_request.is_done, "the request without a response")
    other = ModelFixture(model.kube, model.namespace, "letters")
    other.serve(source.url)
    assert not model.kube.list("jobs", model.namespace, f"{LABEL}=digits")
    wait_until(lambda: model.kube.list("jobs", model.namespace, f"{LABEL}=digits"), "the Job", timeout=40)
    model.kubelet.complete_prepare("digits")
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Ready", "True")


@pytest.mark.parametrize("what", ["kube-apiserver", "etcd"])
def test_a_restart_of_the_control_plane_during_a_rollout_is_survived(
    model: ModelFixture,
    source: FaultSource,
    api: FaultyApi,
    api_server: ApiServer,
    operator: OperatorProcess,
    what: str,
) -> None:
    first = model.serve(source.url)
    model.change(serving={"runtime": "onnxruntime"})
    second = _next_revision(model, first)
    api_server.stop(what)
    api_server.start()
    _finish_upgrade(model, first, second)
    _assert_no_duplicate_writes(api, model, first, second)
