"""A fake kubelet: writes the statuses of pods, because there are no nodes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec
from kube import Kube, Object, wait_until

from keras_api.manifest import ModelSummary, Parity, Tensor
from keras_api.reasons import Reason
from keras_api.step_report import StepFailure, StepReport, encode_report

DIGEST = "sha256:" + "ab" * 32


def summary(runtime: str = "onnxruntime", **metrics: str) -> ModelSummary:
    return ModelSummary(
        digest=DIGEST,
        size_bytes=100_000,
        keras_version="3.15.1",
        parameters=20_000,
        inputs=[Tensor(name="image", dtype="float32", shape=[-1, 8, 8, 1])],
        outputs=[Tensor(name="digit", dtype="float32", shape=[-1, 10])],
        runtime=runtime,
        parity=Parity(max_abs_error="1e-7", agreement="1", rows=100),
        metrics=metrics,
    )


class Kubelet:
    def __init__(self, kube: Kube, namespace: str) -> None:
        self._kube = kube
        self._namespace = namespace

    def prepare_pod(self, model: str, revision: str = "") -> Object:
        """The pod that the Job controller created for the prepare Job."""
        return self._newest(model, "prepare", revision)

    def server_pods(self, model: str, count: int = 1, revision: str = "") -> list[Object]:
        """The serving pods, once their number is `count`."""
        found: list[Object] = wait_until(
            lambda: (pods := self._pods(model, "server", revision)) and len(pods) == count and pods,
            f"{count} serving pods of {model} {revision}",
            describe=lambda: self._describe(model),
        )
        return found

    def complete_prepare(self, model: str, revision: str = "", runtime: str = "onnxruntime") -> Object:
        """All three containers of the prepare pod succeed; `prepare` writes its report."""
        pod = self.prepare_pod(model, revision)
        name = pod["metadata"]["labels"]["keras-operator.dev/revision"]
        report = encode_report(StepReport(step="prepare", revision=name, model=summary(runtime, accuracy="0.97")))
        self._end(pod, "Succeeded", fetch=_ended(0), prepare=_ended(0, report.decode()), put=_ended(0))
        return pod

    def fail_prepare(self, model: str, reason: Reason, message: str, revision: str = "", **more: Any) -> Object:
        """The container `prepare` ends with a failure report."""
        pod = self.prepare_pod(model, revision)
        name = pod["metadata"]["labels"]["keras-operator.dev/revision"]
        report = StepReport(step="prepare", revision=name, failure=StepFailure(reason=reason, message=message))
        self._end(pod, "Failed", fetch=_ended(0), prepare=_ended(1, encode_report(report).decode(), **more))
        return pod

    def end_container(self, model: str, container: str, code: int, message: str, revision: str = "") -> Object:
        """A container of the prepare pod ends with a code and a termination message; those before it succeeded."""
        pod = self.prepare_pod(model, revision)
        names = ["fetch", "prepare", "put"]
        ended = {name: _ended(0) for name in names[: names.index(container)]} | {container: _ended(code, message)}
        if code == 0:
            ended |= {name: _ended(0) for name in names[names.index(container) + 1 :]}
        self._end(pod, "Failed" if code else "Succeeded", **ended)
        return pod

    def oom_kill_prepare(self, model: str, fetched_bytes: int) -> Object:
        """The kernel kills the container `prepare`, after `fetch` has reported the file's size."""
        pod = self.prepare_pod(model)
        name = pod["metadata"]["labels"]["keras-operator.dev/revision"]
        report = encode_report(StepReport(step="fetch", revision=name, fetched_bytes=fetched_bytes)).decode()
        self._end(pod, "Failed", fetch=_ended(0, report), prepare=_ended(137, reason="OOMKilled"))
        return pod

    def make_servers_ready(self, model: str, count: int = 1, revision: str = "") -> list[Object]:
        """The serving pods become ready."""
        pods = self.server_pods(model, count, revision)
        for pod in pods:
            self.make_ready(pod)
        return pods

    def make_ready(self, pod: Object) -> None:
        now = _now()
        running = {"state": {"running": {"startedAt": now}}, "ready": True, "restartCount": 0, **_IMAGE}
        self.set_status(
            pod,
            phase="Running",
            conditions=[
                {"type": kind, "status": "True", "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
            ],
            containerStatuses=[{"name": "server", **running}],
        )

    def set_waiting(self, pod: Object, container: str, reason: str, message: str, **more: Any) -> None:
        """A container waits, with a reason and a message."""
        waiting = {
            "state": {"waiting": {"reason": reason, "message": message}},
            "ready": False,
            "restartCount": 0,
            **more,
        }
        self.set_status(pod, phase="Pending", containerStatuses=[{"name": container, **waiting, **_IMAGE}])

    def report_lost_bundle(self, pod: Object) -> None:
        """The server reports that its bundle is not complete in the store."""
        revision = pod["metadata"]["labels"]["keras-operator.dev/revision"]
        lost = StepFailure(reason=Reason.BUNDLE_INVALID, message="the bundle is incomplete")
        self.end_server(pod, StepReport(step="get", revision=revision, failure=lost))

    def end_server(self, pod: Object, report: StepReport) -> None:
        """The server ends with a report."""
        end = _ended(1, encode_report(report).decode())
        self.set_status(pod, phase="Running", containerStatuses=[{"name": "server", **end}])

    def restart_server(self, pod: Object, report: StepReport) -> None:
        """The server was restarted, and is not ready yet."""
        end, now = _ended(1, encode_report(report).decode())["state"], _now()
        unready = [{"type": "Ready", "status": "False", "lastTransitionTime": end["terminated"]["startedAt"]}]
        status = {"state": {"running": {"startedAt": now}}, "lastState": end, "ready": False, "restartCount": 1}
        self.set_status(pod, conditions=unready, containerStatuses=[{"name": "server", **status, **_IMAGE}])

    def set_status(self, pod: Object, **status: Any) -> None:
        """Patch a pod's status."""
        metadata = pod["metadata"]
        self._kube.patch("pods", metadata["namespace"], metadata["name"], {"status": status}, subresource="status")

    def _end(self, pod: Object, phase: str, **containers: Object) -> None:
        inits = [{"name": name, **state} for name, state in containers.items() if name != "put"]
        mains = [{"name": name, **state} for name, state in containers.items() if name == "put"]
        self.set_status(pod, phase=phase, initContainerStatuses=inits, containerStatuses=mains)

    def _newest(self, model: str, component: str, revision: str) -> Object:
        def newest() -> Object | None:
            pods = [
                pod
                for pod in self._pods(model, component, revision)
                if pod.get("status", {}).get("phase") not in ("Failed", "Succeeded")
                and "deletionTimestamp" not in pod["metadata"]
            ]
            return max(pods, key=lambda pod: int(pod["metadata"]["resourceVersion"]), default=None)

        found: Object = wait_until(
            newest, f"a {component} pod of {model} {revision}", describe=lambda: self._describe(model)
        )
        return found

    def _describe(self, model: str) -> str:
        """The status of a model, and of its Deployment and Jobs: why a pod is missing."""
        found = {"kerasmodel": self._kube.get("kerasmodels", self._namespace, model)}
        for plural in ("deployments", "jobs", "events"):
            selector = "" if plural == "events" else f"keras-operator.dev/model={model}"
            found[plural] = self._kube.list(plural, self._namespace, selector)
        shown = {
            "status": (found["kerasmodel"] or {}).get("status"),
            "deployments": [each.get("status") for each in found["deployments"]],
            "jobs": [each.get("status") for each in found["jobs"]],
            "events": [each["message"] for each in found["events"] if model in each["involvedObject"]["name"]],
        }
        return f"while {msgspec.json.encode(shown).decode()}"

    def _pods(self, model: str, component: str, revision: str) -> list[Object]:
        selector = f"keras-operator.dev/model={model},app.kubernetes.io/component={component}"
        if revision:
            selector += f",keras-operator.dev/revision={revision}"
        return [
            pod
            for pod in self._kube.list("pods", self._namespace, selector)
            if "deletionTimestamp" not in pod["metadata"]
        ]


_IMAGE = {"image": "i", "imageID": "i"}


def _ended(code: int, message: str = "", reason: str = "") -> Object:
    now = _now()
    terminated = {"exitCode": code, "reason": reason or ("Completed" if code == 0 else "Error"), "message": message}
    terminated |= {"startedAt": now, "finishedAt": now}
    return {"state": {"terminated": terminated}, "ready": code == 0, "restartCount": 0, **_IMAGE}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def builtins(value: Any) -> Any:
    """A contract as it is in a status."""
    return msgspec.to_builtins(value)
