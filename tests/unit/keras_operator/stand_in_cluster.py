"""A cluster in memory: objects with versions, one watch per kind, controllers that take one small step when told."""

from __future__ import annotations

import hashlib
from collections import deque
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace
from operator_makers import KEY, NOW, body, ended, failure, summary

from keras_api.reasons import Reason
from keras_api.step_report import StepReport, encode_report
from keras_operator.kube.drift import annotated, fingerprint
from keras_operator.kube.kinds import CHILDREN, DEPLOYMENT, JOB, KERAS_MODEL, POD, Kind, Object, Ref
from keras_operator.kube.times import written
from keras_operator.naming.labels import COMPONENT, MANAGER, REVISION

KINDS = (KERAS_MODEL, *CHILDREN, POD)
THE_MODEL = Ref(KERAS_MODEL, KEY.name)
THE_DEPLOYMENT = Ref(DEPLOYMENT, KEY.name)
URIS = ("s3://models/digits.keras", "s3://models/other.keras")


def revision_of(obj: Object) -> str:
    """The revision that a pod or Job is about, or a Deployment's pods."""
    metadata = obj["spec"]["template"]["metadata"] if obj["kind"] == "Deployment" else obj["metadata"]
    return str(metadata["labels"][REVISION])


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return "deletionTimestamp" not in pod["metadata"] and {"Ready": "True"} in [
        {each["type"]: each["status"]} for each in conditions
    ]


def is_ended(job: Object) -> bool:
    return any(each["type"] in ("Complete", "Failed") for each in job["status"].get("conditions", []))


class Cluster:
    """The truth, which the operator knows only through watches."""

    def __init__(self) -> None:
        self.now: datetime = NOW
        self.objects: dict[Ref, Object] = {}
        self.history: dict[int, Object] = {}
        """Every version of every object."""
        self.watches: dict[Kind, deque[tuple[bool, Object]]] = {kind: deque() for kind in KINDS}
        """Events that the operator has not heard yet: whether the object is there, and the object."""
        self.files: dict[str, str | Reason] = dict.fromkeys(URIS, "etag-1")
        """What a source answers, by address: the fingerprint of its content or why there is none."""
        self.has_service_monitors = True
        self.hindered: dict[Kind, Reason] = {}
        """Kinds that cannot be written, and why: a right that is missing, a name that somebody else has."""
        self.bundles: set[str] = set()
        """Revisions that are in the store."""
        self.store_answers = True
        """Whether the operator reaches the store; pods do, all the time."""
        self.prepared: set[str] = set()
        """Revisions that were ever prepared."""
        self.lost: set[str] = set()
        """Revisions whose bundle the store has lost at some time."""
        self.condemned: set[str] = set()
        """Uids of Jobs that failed for a reason that stays."""
        self._count = 0
        self._write(KERAS_MODEL, body())

    # What clients do.

    def edit(self, **changes: Any) -> None:
        """Change spec fields of the model, given as dotted paths with ``__``; None removes one."""
        live = self.objects[THE_MODEL]
        spec = live["spec"]
        for path, value in changes.items():
            spec = _changed(spec, path.split("__"), value)
        if spec != live["spec"]:
            generation = live["metadata"]["generation"] + 1
            self._write(KERAS_MODEL, {**live, "spec": spec, "metadata": {**live["metadata"], "generation": generation}})

    def write_status(self, status: Object) -> Object:
        return self._write(KERAS_MODEL, {**self.objects[THE_MODEL], "status": status})

    def apply(self, kind: Kind, rendered: Object) -> Object:
        """Server-side apply."""
        wanted, _ = annotated(rendered)
        live = self.objects.get(Ref(kind, wanted["metadata"]["name"]))
        if live is None:
            ours = {"manager": MANAGER, "operation": "Apply", "time": written(self.now), "fieldsV1": {"f:spec": {}}}
            made = {"uid": self._new("uid"), "creationTimestamp": written(self.now), "generation": 1}
            metadata = {**wanted["metadata"], **made, "managedFields": [ours]}
            created = {**wanted, "metadata": metadata, "status": {}}
            if kind == DEPLOYMENT:
                created["spec"] = {"replicas": 1, **wanted["spec"]}
            return self._write(kind, created)
        if kind == JOB:
            return live  # cannot be changed
        spec = {**live.get("spec", {}), **wanted.get("spec", {})}
        generation = live["metadata"]["generation"] + (spec != live.get("spec", {}))
        metadata = {**live["metadata"], **wanted["metadata"], "generation": generation}
        return self._write(kind, {**live, "spec": spec, "metadata": metadata})

    def scale(self, replicas: int) -> None:
        """`kubectl scale deployment`, or a HorizontalPodAutoscaler."""
        live = self.objects.get(THE_DEPLOYMENT)
        if live is not None and live["spec"]["replicas"] != replicas:
            metadata = {**live["metadata"], "generation": live["metadata"]["generation"] + 1}
            self._write(DEPLOYMENT, {**live, "spec": {**live["spec"], "replicas": replicas}, "metadata": metadata})

    def delete(self, ref: Ref, uid: str | None = None) -> bool:
        """Delete an object in the background; its pods go a little later."""
        live = self.objects.get(ref)
        if live is None or uid not in (None, live["metadata"]["uid"]):
            return False
        if ref.kind == POD:
            self.dismiss(ref)
            return True
        self._erase(ref)
        for pod in self.pods(live["metadata"]["uid"]):
            self.dismiss(Ref(POD, pod["metadata"]["name"]))
        return True

    def dismiss(self, ref: Ref) -> None:
        """Begin to delete an object, which `collect` ends."""
        live = self.objects[ref]
        if "deletionTimestamp" not in live["metadata"]:
            self._write(ref.kind, {**live, "metadata": {**live["metadata"], "deletionTimestamp": written(self.now)}})

    # What the cluster does by itself.

    def collect(self) -> None:
        """Objects that are being deleted are gone."""
        for ref, obj in list(self.objects.items()):
            if "deletionTimestamp" in obj["metadata"]:
                self._erase(ref)
                for pod in self.pods(obj["metadata"]["uid"]):
                    self.dismiss(Ref(POD, pod["metadata"]["name"]))

    def control_jobs(self) -> None:
        """Jobs get their pod, and then the end that their pod had."""
        for job in self.all(JOB):
            if is_ended(job) or "deletionTimestamp" in job["metadata"]:
                continue
            pods = self.pods(job["metadata"]["uid"])
            phases = {pod["status"]["phase"] for pod in pods}
            if not job["status"]:
                self._add_pod("prepare", job, revision_of(job), "")
                self._set_status(JOB, job, {"active": 1, "startTime": written(self.now)})
            elif "Succeeded" in phases:
                self._end(job, "Complete", "")
            elif "Failed" in phases or not pods:
                late = any(pod["status"].get("reason") == "DeadlineExceeded" for pod in pods)
                self._end(job, "Failed", "DeadlineExceeded" if late else "BackoffLimitExceeded")

    def control_deployment(self) -> None:
        """One pod more or less towards what the Deployment asks, never fewer ready than wanted."""
        live = self.objects.get(THE_DEPLOYMENT)
        if live is None:
            return
        wanted, template = live["spec"]["replicas"], fingerprint(live["spec"]["template"])
        pods = self.pods(live["metadata"]["uid"])
        standing = [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]
        new = [pod for pod in standing if pod["template"] == template]
        old = [pod for pod in standing if pod["template"] != template]
        ready = sum(map(is_ready, standing))
        if len(new) < wanted and len(standing) <= wanted:
            self._add_pod("server", live, revision_of(live), template)
        elif len(new) > wanted:
            self.dismiss(Ref(POD, new[0]["metadata"]["name"]))
        else:
            for pod in old:
                if not is_ready(pod) or ready > wanted:
                    self.dismiss(Ref(POD, pod["metadata"]["name"]))
                    break

    def report_deployment(self) -> None:
        """The Deployment's status catches up with its pods."""
        live = self.objects.get(THE_DEPLOYMENT)
        if live is None:
            return
        template = fingerprint(live["spec"]["template"])
        standing = [p for p in self.pods(live["metadata"]["uid"]) if "deletionTimestamp" not in p["metadata"]]
        new = [pod for pod in standing if pod["template"] == template]
        wanted = live["spec"]["replicas"]
        complete = len(standing) == len(new) == sum(map(is_ready, new)) == wanted
        reason = "NewReplicaSetAvailable" if complete else "ReplicaSetUpdated"
        self._set_status(
            DEPLOYMENT,
            live,
            {
                "observedGeneration": live["metadata"]["generation"],
                "replicas": len(standing),
                "updatedReplicas": len(new),
                "conditions": [{"type": "Progressing", "status": "True", "reason": reason}],
            },
        )

    def lose_patience(self) -> None:
        """A roll-out that is not complete exceeds its deadline."""
        live = self.objects.get(THE_DEPLOYMENT)
        if live is not None and live["status"].get("conditions", [{}])[0].get("reason") == "ReplicaSetUpdated":
            late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            self._set_status(DEPLOYMENT, live, {**live["status"], "conditions": [{**late, "message": "late"}]})

    # What nodes do.

    def end_prepare(self, outcome: str | Reason) -> None:
        """The containers of the running prepare pods end: ``ok``, ``killed`` (memory), ``late``, or with a reason."""
        for pod in self.all(POD):
            if pod["metadata"]["labels"][COMPONENT] != "prepare" or pod["status"]["phase"] != "Pending":
                continue
            if "deletionTimestamp" in pod["metadata"]:
                continue
            revision, status = revision_of(pod), {"phase": "Failed"}
            if outcome == "ok":
                self.bundles.add(revision)
                self.prepared.add(revision)
                report = StepReport(step="prepare", revision=revision, model=model_of(revision))
                end, status = ended(0, encode_report(report).decode()), {"phase": "Succeeded"}
            elif outcome == "killed":
                end = ended(137, reason="OOMKilled")
            elif outcome == "late":
                end, status = ended(0), {"phase": "Failed", "reason": "DeadlineExceeded"}
            else:
                end = failure(revision, Reason(outcome))
            if outcome in ("late", Reason.MODEL_UNSAFE):
                self.condemned.add(pod["metadata"]["ownerReferences"][0]["uid"])
            self._set_status(POD, pod, {**status, "initContainerStatuses": [{"name": "prepare", "state": end}]})

    def start_servers(self) -> None:
        """Serving pods that are not ready get their bundle and turn ready, or say that they cannot get it."""
        for pod in self.servers():
            if is_ready(pod) or "deletionTimestamp" in pod["metadata"]:
                continue
            revision = revision_of(pod)
            if revision in self.bundles:
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": written(self.now)}
                self._set_status(POD, pod, {"phase": "Running", "conditions": [ready]})
            else:
                lost = failure(revision, Reason.BUNDLE_INVALID)
                lost["terminated"]["finishedAt"] = written(self.now)
                waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
                state = {"name": "server", "state": waiting, "lastState": lost}
                self._set_status(POD, pod, {"phase": "Running", "containerStatuses": [state]})

    def crash_servers(self) -> None:
        for pod in self.servers():
            crashed = {**ended(1, "segmentation fault")}
            crashed["terminated"]["finishedAt"] = written(self.now)
            state = {"name": "server", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": crashed}
            unready = {"type": "Ready", "status": "False", "lastTransitionTime": written(self.now)}
            self._set_status(POD, pod, {"phase": "Running", "conditions": [unready], "containerStatuses": [state]})

    def lose_bundles(self) -> None:
        self.lost |= self.bundles
        self.bundles.clear()

    def manifest(self, revision: str) -> Any:
        """What the store's manifest says of a revision's model, None without one or without an answer."""
        return model_of(revision) if self.store_answers and revision in self.bundles else None

    def pass_time(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def hindrance(self, ref: Ref) -> Reason | None:
        """Why an object cannot be written."""
        reason = self.hindered.get(ref.kind)
        return None if reason == Reason.NAME_CONFLICT and ref in self.objects else reason

    # What there is.

    def all(self, kind: Kind) -> list[Object]:
        return [obj for ref, obj in self.objects.items() if ref.kind == kind]

    def pods(self, owner: str) -> list[Object]:
        return [pod for pod in self.all(POD) if pod["metadata"]["ownerReferences"][0]["uid"] == owner]

    def servers(self) -> list[Object]:
        return [pod for pod in self.all(POD) if pod["metadata"]["labels"][COMPONENT] == "server"]

    # How it is kept.

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._count}"

    def _write(self, kind: Kind, obj: Object) -> Object:
        version = len(self.history) + 1
        obj = {**obj, "kind": kind.name, "metadata": {**obj["metadata"], "resourceVersion": str(version)}}
        self.objects[Ref(kind, obj["metadata"]["name"])] = self.history[version] = obj
        self.watches[kind].append((True, obj))
        return obj

    def _erase(self, ref: Ref) -> None:
        self.watches[ref.kind].append((False, self.objects.pop(ref)))

    def _set_status(self, kind: Kind, obj: Object, status: Object) -> None:
        if obj["status"] != status:
            self._write(kind, {**obj, "status": status})

    def _end(self, job: Object, type_: str, reason: str) -> None:
        end = {"type": type_, "status": "True", "reason": reason, "message": "its end"}
        conditions = [{**end, "lastTransitionTime": written(self.now)}]
        self._set_status(JOB, job, {"startTime": job["status"]["startTime"], "conditions": conditions})

    def _add_pod(self, component: str, owner: Object, revision: str, template: str) -> None:
        labels = {**owner["metadata"]["labels"], COMPONENT: component, REVISION: revision}
        name = self._new("pod")
        metadata = {
            "name": name,
            "namespace": KEY.namespace,
            "uid": f"uid-{name}",
            "labels": labels,
            "annotations": owner["spec"]["template"]["metadata"].get("annotations", {}),
            "creationTimestamp": written(self.now),
            "ownerReferences": [{"kind": "X", "name": "x", "uid": owner["metadata"]["uid"], "controller": True}],
        }
        self._write(POD, {"metadata": metadata, "template": template, "status": {"phase": "Pending"}})


def model_of(revision: str) -> Any:
    """What prepare finds out about a revision: another model each."""
    return replace(summary(), digest=f"sha256:{hashlib.sha256(revision.encode()).hexdigest()}")


def _changed(tree: Object, path: list[str], value: Any) -> Object:
    name, rest = path[0], path[1:]
    if rest:
        return {**tree, name: _changed(tree.get(name, {}), rest, value)}
    return {**{key: old for key, old in tree.items() if key != name}, **({} if value is None else {name: value})}
