"""Interruptions of every kind between the operator and the API: after each it converges, and does nothing twice."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from threading import Event
from types import MappingProxyType

import pytest
from cluster.apiserver import SERVICE_MONITOR_CRD, ApiServer
from fault_source import Source
from faulty_api import FaultyApi, answers, comes_after, comes_late, kills, never_answers
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
    """A client with all rights, past the faults."""
    return Kube(api_server.kubeconfig)


@pytest.fixture(scope="module")
def proxy(api_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultyApi]:
    with FaultyApi(api_server.kubeconfig, tmp_path_factory.mktemp("proxy") / "kubeconfig") as proxy:
        yield proxy


@pytest.fixture(scope="module")
def operator(proxy: FaultyApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    """The operator behind the proxy, which waits for an answer a little longer than the slowest takes here."""
    folder = tmp_path_factory.mktemp("operator")
    with OperatorProcess(proxy.kubeconfig, folder / "log", request_timeout=f"{SLOW_SECONDS + 4}s") as process:
        yield process


@pytest.fixture
def api(proxy: FaultyApi) -> Iterator[FaultyApi]:
    """The API as the operator sees it; the faults of one test end with it."""
    yield proxy
    proxy.relent()


@pytest.fixture
def scene(kube: Kube, namespace: str, operator: OperatorProcess) -> ModelFixture:
    return ModelFixture(kube, namespace)


@pytest.fixture
def monitored(scene: ModelFixture, operator: OperatorProcess) -> Iterator[ModelFixture]:
    """Where there are ServiceMonitors."""
    with operator.begun_again():
        scene.kube.create(SERVICE_MONITOR_CRD)
        yield scene
        scene.kube.delete_crd("servicemonitors.monitoring.coreos.com")
        wait_until(lambda: not scene.kube.serves(SERVICE_MONITORS), "ServiceMonitors to be unknown")


def _upgrade(scene: ModelFixture, **spec: object) -> str:
    """Bring a served model to its next revision. Returns that."""
    first = scene.status()["servingRevision"]
    scene.change(**spec)
    second = _wanted_after(scene, first)
    _finish_upgrade(scene, first, second)
    return second


def _wanted_after(scene: ModelFixture, first: str) -> str:
    found: str = wait_until(
        lambda: (found := scene.status().get("desiredRevision")) != first and found, "another revision to be wanted"
    )
    return found


def _finish_upgrade(scene: ModelFixture, first: str, second: str) -> None:
    """Play the kubelet until the second revision is served and the first one's Job is gone."""
    scene.kubelet.prepares(scene.name, second)
    scene.kubelet.serves(scene.name, revision=second)
    scene.wait_for("Ready", "True", "Serving")
    wait_until(lambda: scene.child("jobs", f"digits-prepare-{first}") is None, "the first revision's Job to go")


def _assert_no_orphans(scene: ModelFixture, revision: str) -> None:
    """One child of each kind, all of them the model's own."""
    owner = scene.model()["metadata"]["uid"]
    found = [(child["metadata"]["name"], child["metadata"]["ownerReferences"][0]["uid"]) for child in _children(scene)]
    assert found == [(name, owner) for name in ("digits", "digits", "digits", f"digits-prepare-{revision}")]


def _assert_nothing_twice(
    api: FaultyApi, scene: ModelFixture, first: str, second: str, more: Mapping[str, int] = MappingProxyType({})
) -> None:
    """Two revisions took one Job each, and no child was applied without need."""
    jobs = [f"digits-prepare-{revision}" for revision in (first, second)]
    assert api.created("jobs", scene.namespace) == dict.fromkeys(jobs, 1)
    applied = {f"jobs {job}": 1 for job in jobs}
    applied |= {"serviceaccounts digits": 1, "services digits": 1, "deployments digits": 2, **more}
    assert api.applied(scene.namespace) == applied
    _assert_no_orphans(scene, second)


def _children(scene: ModelFixture, name: str = "digits") -> list[Object]:
    return [child for plural in CHILDREN for child in scene.kube.list(plural, scene.namespace, f"{LABEL}={name}")]


def _known_models(operator: OperatorProcess) -> float:
    return sum(value for name, value in operator.metrics().items() if name.startswith("keras_operator_models{"))


def _failed_turns(operator: OperatorProcess) -> float:
    return operator.metrics().get('keras_operator_reconcile_duration_seconds_count{result="error"}', 0)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    ("what", "skip"),
    [
        ("apply serviceaccounts", 0),
        ("apply services", 0),
        ("apply jobs", 0),
        ("patch kerasmodels/status", 0),  # says that the model is being prepared
        ("patch kerasmodels/status", 1),  # remembers what preparing has found
        ("apply deployments", 0),
        ("create events", 0),
        ("delete jobs", 0),
    ],
)
def test_killed_at_a_write_it_goes_on_where_it_was(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess, what: str, skip: int, moment: str
) -> None:
    death = api.plan(what, kills(operator, moment), skip=skip)
    first = scene.serve(source.url)
    second = _upgrade(scene, serving={"runtime": "onnxruntime"})
    wait_until(operator.is_ready, "the operator to be back")
    assert death.is_over
    _assert_nothing_twice(api, scene, first, second)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("verb", ["apply", "delete"])
def test_killed_at_a_write_to_a_service_monitor_it_goes_on_where_it_was(
    monitored: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess, verb: str, moment: str
) -> None:
    death = api.plan(f"{verb} servicemonitors", kills(operator, moment))
    first = monitored.serve(source.url)
    monitored.wait_for("MonitoringReady", "True", "ServiceMonitorApplied")
    second = _upgrade(monitored, serving={"runtime": "onnxruntime"}, monitoring={"serviceMonitor": {"enabled": False}})
    wait_until(lambda: monitored.child("servicemonitors") is None, "the ServiceMonitor to go")
    wait_until(operator.is_ready, "the operator to be back")
    assert death.is_over
    _assert_nothing_twice(api, monitored, first, second, {"servicemonitors digits": 1})


def test_what_was_deleted_behind_its_back_is_noticed_after_410_gone(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    other = ModelFixture(scene.kube, scene.namespace, "letters")
    other.create(source.url)
    scene.serve(source.url)
    with api.blind():
        scene.kube.delete("kerasmodels", scene.namespace, "letters")
        scene.kube.delete("services", scene.namespace, "digits")
    scene.wait_for_child("services")
    wait_until(lambda: _known_models(operator) == 1, "the stale_object to go")
    wait_until(lambda: not _children(scene, "letters"), "the stale_object's children to be collected")


def test_the_last_model_deleted_behind_its_back_is_noticed_after_410_gone(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    scene.serve(source.url)
    with api.blind():
        scene.kube.delete("kerasmodels", scene.namespace, "digits")
    wait_until(lambda: _known_models(operator) == 0, "the stale_object to go")
    wait_until(lambda: not _children(scene, "digits"), "the stale_object's children to be collected")


def test_bursts_of_refusals_are_waited_out(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    bursts = [
        api.plan("apply *", answers(429, retry_after=1), times=2),
        api.plan("apply *", answers(500), times=2),
        api.plan("patch kerasmodels/status", answers(500), times=2),
        api.plan("create events", answers(429, retry_after=1)),
        api.plan("delete jobs", answers(500)),
    ]
    first = scene.serve(source.url)
    second = _upgrade(scene, serving={"runtime": "onnxruntime"})
    assert all(burst.is_over for burst in bursts)
    _assert_nothing_twice(api, scene, first, second)


def test_the_pause_that_the_api_server_asks_for_is_kept(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    refused = api.plan("apply jobs", answers(429, retry_after=3))
    scene.create(source.url)
    wait_until(lambda: api.created("jobs", scene.namespace), "the Job")
    made = next(call.time for call in api.calls if call.what == "apply jobs" and call.namespace == scene.namespace)
    assert made - refused.time >= 3


def test_a_status_that_is_refused_is_not_taken_for_a_model_that_is_gone(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    before = _failed_turns(operator)
    refused = api.plan("patch kerasmodels/status", answers(422), times=2)
    scene.serve(source.url)
    assert refused.is_over
    assert _failed_turns(operator) - before == 2


def test_the_status_of_a_model_that_was_made_anew_meanwhile_is_dropped(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    before = _failed_turns(operator)
    is_anew = Event()

    def make_anew() -> None:
        scene.kube.delete("kerasmodels", scene.namespace, scene.name)
        scene.create(source.url, serving={"replicas": 2})
        is_anew.set()

    api.plan("patch kerasmodels/status", comes_after(make_anew))
    scene.create(source.url)
    wait_until(is_anew.is_set, "the model to be made anew")
    wait_until(lambda: scene.status().get("desiredRevision"), "its status")
    first = next(call for call in api.calls if call.what.startswith("patch") and call.namespace == scene.namespace)
    assert (first.what, first.status) == ("patch kerasmodels/status", 422)
    assert _failed_turns(operator) == before


def test_watches_that_are_refused_are_taken_up_again(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    scene.serve(source.url)
    bursts = [api.plan("watch *", answers(429, retry_after=1), times=3), api.plan("watch *", answers(500), times=6)]
    api.close_watches()
    wait_until(lambda: all(burst.is_over for burst in bursts), "the watches to be refused")
    scene.kube.delete("services", scene.namespace, "digits")
    scene.wait_for_child("services")


def test_a_watch_that_fails_for_good_ends_the_process_and_the_next_one_goes_on(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    scene.serve(source.url)
    refusal = api.plan("watch services", answers(404))
    with operator.begun_again():
        api.close_watches()
        wait_until(lambda: refusal.is_over, "the watch to be refused")
        for _ in range(2):
            scene.kube.delete("services", scene.namespace, "digits")
            scene.wait_for_child("services")
    assert "a watch failed permanently" in operator.tail()


def test_an_answer_that_takes_ten_seconds_is_waited_for(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    first = scene.serve(source.url)
    slow = api.plan("apply deployments", comes_late(SLOW_SECONDS), times=99)
    scene.change(serving={"replicas": 2})
    scene.kubelet.serves("digits", 2)
    scene.wait_for("Ready", "True", "Serving")
    assert slow.happened == 1
    assert api.applied(scene.namespace)["deployments digits"] == 2
    _assert_no_orphans(scene, first)


def test_it_starts_and_works_while_every_answer_takes_ten_seconds(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    scene.serve(source.url)
    slow = api.plan("*", comes_late(SLOW_SECONDS), times=9999)
    operator.kill_and_begin()
    scene.change(serving={"replicas": 2})
    wait_until(lambda: scene.wait_for_child("deployments")["spec"]["replicas"] == 2, "the change", timeout=280)
    assert slow.happened > 10
    api.relent()
    scene.kubelet.serves("digits", 2)
    scene.wait_for("Ready", "True", "Serving")
    assert operator.is_ready(), "the same process goes on"


def test_a_request_that_is_never_answered_is_made_again_and_holds_up_nobody_else(
    scene: ModelFixture, source: Source, api: FaultyApi, operator: OperatorProcess
) -> None:
    hung = api.plan("apply jobs", never_answers())
    scene.create(source.url)
    wait_until(lambda: hung.is_over, "the request to hang")
    other = ModelFixture(scene.kube, scene.namespace, "letters")
    other.serve(source.url)
    assert not scene.kube.list("jobs", scene.namespace, f"{LABEL}=digits")
    wait_until(lambda: scene.kube.list("jobs", scene.namespace, f"{LABEL}=digits"), "the Job", timeout=40)
    scene.kubelet.prepares("digits")
    scene.kubelet.serves("digits")
    scene.wait_for("Ready", "True")


@pytest.mark.parametrize("what", ["kube-apiserver", "etcd"])
def test_a_restart_in_the_middle_of_a_rollout_is_survived(
    scene: ModelFixture, source: Source, api: FaultyApi, api_server: ApiServer, operator: OperatorProcess, what: str
) -> None:
    first = scene.serve(source.url)
    scene.change(serving={"runtime": "onnxruntime"})
    second = _wanted_after(scene, first)
    api_server.stop(what)
    api_server.start()
    _finish_upgrade(scene, first, second)
    _assert_nothing_twice(api, scene, first, second)
