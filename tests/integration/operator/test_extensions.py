"""Extensibility: the operator runs with an additional child kind, task and source scheme."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from api_servers import api_server_with
from extended_operator import DISK
from kube import Kube, Object, wait_until
from model_fixture import ModelFixture
from operator_process import OperatorProcess

from keras_api.reasons import Reason
from keras_api.step_report import StepFailure, StepReport, encode_report
from keras_store.sources.registry import SCHEMES

URI = "disk://shared/digits.keras"


@pytest.fixture(scope="module")
def disks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("disks")
    (folder / "shared").mkdir()
    (folder / "shared/digits.keras").write_bytes(b"a model")
    return folder


@pytest.fixture(scope="module")
def extended_kube(disks: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kube]:
    """An API with the CRD of all schemes, and the operator with all extensions."""
    folder = tmp_path_factory.mktemp("extended")
    program = (str(Path(__file__).with_name("extended_operator.py")),)
    with (
        api_server_with(folder / "api", (*SCHEMES, DISK)) as server,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setenv("DISKS", str(disks))
        operator = OperatorProcess(server.kubeconfig, folder / "operator.log", program=program)
        with operator:
            yield Kube(server.kubeconfig)


@pytest.fixture
def model(extended_kube: Kube, request: pytest.FixtureRequest) -> ModelFixture:
    name = f"{request.node.originalname.replace('_', '-')[:40].rstrip('-')}-{extended_kube.unique()}"
    extended_kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return ModelFixture(extended_kube, name)


def end_inspection(model: ModelFixture, failure: StepFailure | None = None) -> None:
    """The pod of the task `inspect` ends with its report."""

    def pod() -> Object | None:
        selector = "app.kubernetes.io/component=inspect"
        return next(iter(model.kube.list("pods", model.namespace, selector)), None)

    found: Object = wait_until(pod, "the pod of the task inspect")
    revision = found["metadata"]["labels"]["keras-operator.dev/revision"]
    report = StepReport(step="inspect", revision=revision, result=None if failure else {"lines": 7}, failure=failure)
    terminated = {
        "exitCode": 1 if failure else 0,
        "reason": "Error" if failure else "Completed",
        "message": encode_report(report).decode(),
        "startedAt": "2026-11-22T12:00:00Z",
        "finishedAt": "2026-11-22T12:00:00Z",
    }
    status = {"name": "inspect", "state": {"terminated": terminated}, "ready": False, "restartCount": 0}
    model.kubelet.set_status(
        found,
        phase="Failed" if failure else "Succeeded",
        containerStatuses=[{**status, "image": "i", "imageID": "i"}],
    )


def serve(model: ModelFixture) -> None:
    model.create(URI)
    end_inspection(model)
    model.kubelet.complete_prepare("digits")
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Ready", "True")


def autoscaler(model: ModelFixture) -> Object | None:
    return model.child("horizontalpodautoscalers")


def test_a_chain_of_two_tasks_leads_to_the_desired_revision(model: ModelFixture) -> None:
    model.create(URI)
    waiting = model.wait_for("ModelPrepared", "False", "Preparing")
    assert waiting["message"] == "waiting for the task inspect"
    revision = model.status()["desiredRevision"]
    assert model.wait_for("Ready", "False", "Preparing")["message"] == f"Job digits-inspect-{revision} is running"
    assert model.child("jobs", f"digits-prepare-{revision}") is None
    end_inspection(model)
    assert model.wait_for("Inspected", "True")["message"] == f"revision {revision} is inspected"
    model.wait_for_child("jobs", f"digits-prepare-{revision}")
    model.kubelet.complete_prepare("digits")
    model.kubelet.make_servers_ready("digits")
    model.wait_for("Ready", "True")
    assert model.condition("Inspected")["status"] == "True"


def test_a_failure_of_the_first_task_is_reported_under_its_name(model: ModelFixture) -> None:
    model.create(URI)
    end_inspection(model, StepFailure(reason=Reason.MODEL_UNREADABLE, message="the file has no lines"))
    ready = model.wait_for("Ready", "False", "ModelUnreadable")
    assert ready["message"] == "the file has no lines"
    model.wait_for("Stalled", "True", "ModelUnreadable")
    failure = model.status()["lastFailure"]
    assert (failure["step"], failure["revision"]) == ("inspect", model.status()["desiredRevision"])
    assert model.child("jobs", f"digits-prepare-{failure['revision']}") is None


def test_a_child_kind_is_applied_reported_repaired_and_removed(model: ModelFixture) -> None:
    serve(model)
    found: Object = wait_until(lambda: autoscaler(model), "the autoscaler")
    assert found["metadata"]["ownerReferences"][0]["name"] == "digits"
    model.wait_for("AutoscalerReady", "True")

    plural, where = "horizontalpodautoscalers", (model.namespace, "digits")
    model.kube.patch(plural, *where, {"spec": {"maxReplicas": 9}})
    wait_until(lambda: (now := autoscaler(model)) and now["spec"]["maxReplicas"] == 3, "the repair of a change")
    model.kube.delete(plural, *where)
    wait_until(
        lambda: (now := autoscaler(model)) and now["metadata"]["uid"] != found["metadata"]["uid"],
        "a deleted one to be recreated",
    )

    model.change(serving={"replicas": 1})
    wait_until(lambda: autoscaler(model) is None, "the removal of an obsolete one")
    model.wait_for("AutoscalerReady", "False")


def test_a_source_scheme_is_polled_and_reaches_the_pod_of_its_job(model: ModelFixture, disks: Path) -> None:
    file = disks / "shared" / f"{model.namespace}.keras"
    file.write_bytes(b"a first model")
    model.create(f"disk://shared/{file.name}", source={"pollInterval": "10s"})
    end_inspection(model)
    first = model.status()["desiredRevision"]
    job = model.wait_for_child("jobs", f"digits-prepare-{first}")
    spec = job["spec"]["template"]["spec"]
    assert {"name": "disk-shared", "emptyDir": {}} in spec["volumes"]
    mounts = {each["name"]: [mount["name"] for mount in each["volumeMounts"]] for each in spec["initContainers"]}
    assert "disk-shared" in mounts["fetch"]
    assert "disk-shared" not in mounts["prepare"]
    assert model.status()["source"]["sizeBytes"] == len(b"a first model")
    file.write_bytes(b"a second model")
    wait_until(lambda: model.status()["desiredRevision"] != first, "the poll to find the new file")


def test_an_address_of_the_scheme_is_valid_and_one_of_no_scheme_is_not(model: ModelFixture) -> None:
    with pytest.raises(Exception, match="disk://name/path"):
        model.create("unknown://shared/digits.keras")
