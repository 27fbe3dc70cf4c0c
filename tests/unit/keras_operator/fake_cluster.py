"""A cluster in memory: objects with versions, one watch for each kind, and controllers that take one small step a call.

`fake_api_server` is the way to it for the operator. Users, nodes and the controllers of Kubernetes change it directly.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from msgspec.structs import replace
from operator_makers import CHILD_KINDS, KEY, body, ended, failure, summary

from keras_api.manifest import Manifest, ModelSummary, SourceRecord
from keras_api.reasons import Reason
from keras_api.step_report import StepReport, encode_report
from keras_operator.cache.objects import controller_of
from keras_operator.components.service_monitor import SERVICE_MONITOR
from keras_operator.kube.drift import content_hash
from keras_operator.kube.identity import MANAGED_BY, MANAGER
from keras_operator.kube.kinds import DEPLOYMENT, JOB, KERAS_MODEL, POD, SERVICE, SERVICE_ACCOUNT, Kind, Object, Ref
from keras_operator.kube.times import written
from keras_operator.naming.labels import COMPONENT, REVISION, SERVER

CHILDREN = tuple(each.kind for each in CHILD_KINDS)
KINDS = (KERAS_MODEL, *CHILDREN, POD)
THE_MODEL = Ref(KERAS_MODEL, KEY.name)
THE_DEPLOYMENT = Ref(DEPLOYMENT, KEY.name)
THE_MONITOR = Ref(SERVICE_MONITOR, KEY.name)
URIS = ("s3://models/digits.keras", "s3://models/other.keras")
POLL_SECONDS = 30

# A field that the operator owns in each kind of child, and a value that another client gives it.
EDITS: dict[Kind, tuple[tuple[str, ...], Any]] = {
    DEPLOYMENT: (("spec", "progressDeadlineSeconds"), 1),
    SERVICE: (("spec", "ports"), [{"name": "http", "port": 9090, "targetPort": "http", "protocol": "TCP"}]),
    SERVICE_ACCOUNT: (("automountServiceAccountToken",), True),
    SERVICE_MONITOR: (("spec", "endpoints"), []),
}


def revision_of(obj: Object) -> str:
    """The revision of a pod or Job, or of a Deployment's pods."""
    metadata = obj["spec"]["template"]["metadata"] if obj["kind"] == "Deployment" else obj["metadata"]
    return str(metadata["labels"][REVISION])


def is_ready(pod: Object) -> bool:
    conditions = pod["status"].get("conditions", [])
    return "deletionTimestamp" not in pod["metadata"] and {"Ready": "True"} in [
        {each["type"]: each["status"]} for each in conditions
    ]


def is_ended(job: Object) -> bool:
    return any(each["type"] in ("Complete", "Failed") for each in job["status"].get("conditions", []))


def is_managed(obj: Object) -> bool:
    """Whether an object has the label by which the operator lists and watches."""
    return obj["metadata"].get("labels", {}).get(MANAGED_BY) == MANAGER


def owned_fields(obj: Object) -> Object | None:
    """The fields that the operator owns in an object, as in managedFields; None when it has applied nothing to it."""
    entries = obj["metadata"].get("managedFields", [])
    return next((each["fieldsV1"] for each in entries if each["manager"] == MANAGER), None)


class Cluster:
    """The truth, which the operator knows only through listings and watches."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self.now = now
        self._count = 0
        self.objects: dict[Ref, Object] = {}
        self.history: dict[int, Object] = {}
        """Every version of every object."""
        self.watches: dict[Kind, deque[tuple[bool, Object]]] = {kind: deque() for kind in KINDS}
        """Changes that were not delivered yet: whether the object exists, and the object."""
        self.warnings: dict[str, list[Object]] = {}
        """Warning Events by the uid of their object."""
        self.files: dict[str, str | Reason] = dict.fromkeys(URIS, "etag-1")
        """The answer of each source: the fingerprint of its file, or the reason of its failure."""
        self.has_service_monitors = True
        self.bundles: set[str] = set()
        """Revisions that are in the store."""
        self.prepared: set[str] = set()
        """Revisions that were ever prepared."""
        self.lost: set[str] = set()
        """Revisions whose bundle the store has lost at some time."""
        self.condemned: set[str] = set()
        """uids of Jobs that failed for a reason that stays."""
        self.create_model()

    # Clients

    def create_model(self) -> None:
        created = body(source={"pollInterval": f"{POLL_SECONDS}s"})
        self.create(KERAS_MODEL, created)

    def edit(self, **changes: Any) -> None:
        """Change spec fields of the model, given as paths with ``__`` for dots; None removes one."""
        live = self.objects[THE_MODEL]
        spec = live["spec"]
        for path, value in changes.items():
            spec = _changed(spec, path.split("__"), value)
        self.replace(KERAS_MODEL, {**live, "spec": spec})

    def spec(self, section: str) -> Object:
        """A section of the model's spec."""
        return cast(Object, self.objects[THE_MODEL]["spec"].get(section, {}))

    def scale(self, replicas: int) -> None:
        """`kubectl scale deployment`, or a HorizontalPodAutoscaler."""
        live = self.objects.get(THE_DEPLOYMENT)
        if live is not None and is_managed(live):
            self._take_field(live, ("spec", "replicas"), replicas)

    def edit_child(self, ref: Ref) -> None:
        """Another client changes a field that the operator owns. Nothing in a Job can be changed."""
        if ref.kind in EDITS:
            self._take_field(self.objects[ref], *EDITS[ref.kind])

    def orphan(self, ref: Ref) -> None:
        """Another client removes the owner, as `kubectl delete --cascade=orphan` does."""
        self._take_field(self.objects[ref], ("metadata", "ownerReferences"), [])

    def occupy(self, ref: Ref) -> Object:
        """Another client creates an object under a name that the operator uses."""
        foreign = {"metadata": {"name": ref.name, "namespace": KEY.namespace}, "spec": {"theirs": True}}
        return self.create(ref.kind, foreign)

    def delete(self, ref: Ref) -> None:
        """Delete an object in the background; the garbage collector deletes its pods a little later."""
        live = self.objects[ref]
        if ref.kind == POD:
            self.dismiss(ref)
            return
        self._erase(ref)
        for pod in self.pods(live["metadata"]["uid"]):
            self.dismiss(Ref(POD, pod["metadata"]["name"]))

    def dismiss(self, ref: Ref) -> None:
        """Begin to delete an object; `collect_garbage` ends that."""
        live = self.objects[ref]
        if "deletionTimestamp" not in live["metadata"]:
            deleted = {**live["metadata"], "deletionTimestamp": written(self.now())}
            self._write(ref.kind, {**live, "metadata": deleted})

    # The controllers of Kubernetes

    def collect_garbage(self) -> None:
        """Remove objects that are being deleted, and delete those without an owner."""
        for ref, obj in list(self.objects.items()):
            if "deletionTimestamp" in obj["metadata"]:
                self._erase(ref)
        uids = {obj["metadata"]["uid"] for obj in self.objects.values()}
        for ref, obj in list(self.objects.items()):
            owner = controller_of(obj)
            if owner is not None and owner not in uids:
                self.dismiss(ref)

    def control_jobs(self) -> None:
        """Jobs get their pod, and then the end that their pod had."""
        for job in self.all(JOB):
            if not is_managed(job) or is_ended(job) or "deletionTimestamp" in job["metadata"]:
                continue
            pods = self.pods(job["metadata"]["uid"])
            phases = {pod["status"]["phase"] for pod in pods}
            if not job["status"]:
                self._add_pod("prepare", job, revision_of(job), "")
                self._set_status(JOB, job, {"active": 1, "startTime": written(self.now())})
            elif "Succeeded" in phases:
                self._end(job, "Complete", "")
            elif "Failed" in phases or not pods:
                late = any(pod["status"].get("reason") == "DeadlineExceeded" for pod in pods)
                self._end(job, "Failed", "DeadlineExceeded" if late else "BackoffLimitExceeded")

    def control_deployment(self) -> None:
        """One pod more or less towards the number that the Deployment asks for; as many as that stay ready."""
        live = self.deployment()
        if live is None:
            return
        desired, template = live["spec"]["replicas"], content_hash(live["spec"]["template"])
        standing = self._standing_pods(live)
        new = [pod for pod in standing if pod["template"] == template]
        old = [pod for pod in standing if pod["template"] != template]
        ready = sum(map(is_ready, standing))
        if len(new) < desired and len(standing) <= desired:
            self._add_pod(SERVER, live, revision_of(live), template)
        elif len(new) > desired:
            self.dismiss(Ref(POD, new[0]["metadata"]["name"]))
        else:
            for pod in old:
                if not is_ready(pod) or ready > desired:
                    self.dismiss(Ref(POD, pod["metadata"]["name"]))
                    break

    def report_deployment(self) -> None:
        """Update the Deployment's status from its pods."""
        live = self.deployment()
        if live is None:
            return
        template = content_hash(live["spec"]["template"])
        standing = self._standing_pods(live)
        new = [pod for pod in standing if pod["template"] == template]
        desired = live["spec"]["replicas"]
        complete = len(standing) == len(new) == sum(map(is_ready, new)) == desired
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

    def exceed_progress_deadline(self) -> None:
        """A rollout that is not complete exceeds its deadline."""
        live = self.deployment()
        if live is not None and live["status"].get("conditions", [{}])[0].get("reason") == "ReplicaSetUpdated":
            late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
            self._set_status(DEPLOYMENT, live, {**live["status"], "conditions": [{**late, "message": "late"}]})

    # The nodes

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
        """Serving pods that are not ready download their bundle and become ready, or report that they cannot."""
        for pod in self.servers():
            if is_ready(pod) or "deletionTimestamp" in pod["metadata"]:
                continue
            revision = revision_of(pod)
            if revision in self.bundles:
                ready = {"type": "Ready", "status": "True", "lastTransitionTime": written(self.now())}
                self._set_status(POD, pod, {"phase": "Running", "conditions": [ready]})
            else:
                lost = failure(revision, Reason.BUNDLE_INVALID)
                lost["terminated"]["finishedAt"] = written(self.now())
                waiting = {"waiting": {"reason": "CrashLoopBackOff"}}
                state = {"name": "server", "state": waiting, "lastState": lost}
                self._set_status(POD, pod, {"phase": "Running", "containerStatuses": [state]})

    def crash_servers(self) -> None:
        for pod in self.servers():
            crashed = {**ended(1, "segmentation fault")}
            crashed["terminated"]["finishedAt"] = written(self.now())
            state = {"name": "server", "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": crashed}
            unready = {"type": "Ready", "status": "False", "lastTransitionTime": written(self.now())}
            self._set_status(POD, pod, {"phase": "Running", "conditions": [unready], "containerStatuses": [state]})

    def fail_mounts(self) -> None:
        """The kubelet cannot mount a volume of the pods that have not started."""
        for pod in self.all(POD):
            if pod["status"]["phase"] == "Pending":
                uid, message = pod["metadata"]["uid"], 'MountVolume.SetUp failed: configmap "code" not found'
                event = {"metadata": {"resourceVersion": "1"}, "reason": "FailedMount", "message": message}
                self.warnings[uid] = [{**event, "involvedObject": {"uid": uid}}]

    # The store

    def lose_bundles(self) -> None:
        self.lost |= self.bundles
        self.bundles.clear()

    def manifest(self, revision: str) -> Manifest | None:
        if revision not in self.bundles:
            return None
        source = SourceRecord(uri=URIS[0], fingerprint="etag", digest=model_of(revision).digest, size_bytes=1)
        return Manifest(
            revision=revision, source=source, model=model_of(revision), entry="model.onnx", versions={}, files=[]
        )

    # All objects

    def serves(self, kind: Kind) -> bool:
        return kind != SERVICE_MONITOR or self.has_service_monitors

    def remove_service_monitors(self) -> None:
        """Delete the CustomResourceDefinition of ServiceMonitors, and with it all of them."""
        self.has_service_monitors = False
        for ref in [ref for ref in self.objects if ref.kind == SERVICE_MONITOR]:
            self._erase(ref)

    def all(self, kind: Kind) -> list[Object]:
        return [obj for ref, obj in self.objects.items() if ref.kind == kind]

    def managed(self, *kinds: Kind) -> list[Ref]:
        return [ref for ref, obj in self.objects.items() if ref.kind in kinds and is_managed(obj)]

    def deployment(self) -> Object | None:
        live = self.objects.get(THE_DEPLOYMENT)
        return live if live is not None and is_managed(live) else None

    def pods(self, owner: str) -> list[Object]:
        return [pod for pod in self.all(POD) if controller_of(pod) == owner]

    def servers(self) -> list[Object]:
        return [pod for pod in self.all(POD) if pod["metadata"]["labels"][COMPONENT] == SERVER]

    def create(self, kind: Kind, obj: Object) -> Object:
        metadata = {**obj["metadata"], "uid": self._new("uid"), "generation": 1}
        created = {**metadata, "creationTimestamp": written(self.now())}
        return self._write(kind, {**obj, "metadata": created, "status": obj.get("status", {})})

    def replace(self, kind: Kind, obj: Object) -> Object:
        """Write an object; its generation grows if its spec changes. Nothing happens when nothing changes."""
        live = self.objects[Ref(kind, obj["metadata"]["name"])]
        if obj == live:
            return live
        generation = live["metadata"]["generation"] + (obj.get("spec") != live.get("spec"))
        return self._write(kind, {**obj, "metadata": {**obj["metadata"], "generation": generation}})

    def _new(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}-{self._count}"

    def _write(self, kind: Kind, obj: Object) -> Object:
        version = len(self.history) + 1
        obj = {
            **obj,
            "apiVersion": kind.api_version,
            "kind": kind.name,
            "metadata": {**obj["metadata"], "resourceVersion": str(version)},
        }
        self.objects[Ref(kind, obj["metadata"]["name"])] = self.history[version] = obj
        self._notify(kind, obj, exists=True)
        return obj

    def _erase(self, ref: Ref) -> None:
        version = len(self.history) + 1
        self.history[version] = self.objects.pop(ref)
        self._notify(ref.kind, self.history[version], exists=False)

    def _notify(self, kind: Kind, obj: Object, *, exists: bool) -> None:
        if kind == KERAS_MODEL or is_managed(obj):
            self.watches[kind].append((exists, obj))

    def _take_field(self, live: Object, path: tuple[str, ...], value: Any) -> None:
        """Another manager sets a field, and by that owns it."""
        entries = [
            {**each, "fieldsV1": _removed(each["fieldsV1"], [f"f:{name}" for name in path])}
            for each in live["metadata"]["managedFields"]
        ]
        changed = _changed(live, list(path), value)
        if changed != live:
            self.replace(
                KIND_NAMED[live["kind"]], {**changed, "metadata": {**changed["metadata"], "managedFields": entries}}
            )

    def _set_status(self, kind: Kind, obj: Object, status: Object) -> None:
        if obj["status"] != status:
            self._write(kind, {**obj, "status": status})

    def _end(self, job: Object, type_: str, reason: str) -> None:
        end = {"type": type_, "status": "True", "reason": reason, "message": "its end"}
        conditions = [{**end, "lastTransitionTime": written(self.now())}]
        self._set_status(JOB, job, {"startTime": job["status"]["startTime"], "conditions": conditions})

    def _standing_pods(self, deployment: Object) -> list[Object]:
        pods = self.pods(deployment["metadata"]["uid"])
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def _add_pod(self, component: str, owner: Object, revision: str, template: str) -> None:
        name = self._new("pod")
        metadata = {
            "name": name,
            "namespace": KEY.namespace,
            "labels": {**owner["metadata"]["labels"], COMPONENT: component, REVISION: revision},
            "annotations": owner["spec"]["template"]["metadata"].get("annotations", {}),
            "ownerReferences": [{"kind": "X", "name": "x", "uid": owner["metadata"]["uid"], "controller": True}],
        }
        self.create(POD, {"metadata": metadata, "template": template, "status": {"phase": "Pending"}})


KIND_NAMED = {kind.name: kind for kind in KINDS}


def model_of(revision: str) -> ModelSummary:
    """The result of prepare for a revision: another model each."""
    return replace(summary(), digest=f"sha256:{hashlib.sha256(revision.encode()).hexdigest()}")


def _changed(tree: Object, path: list[str], value: Any) -> Object:
    name, rest = path[0], path[1:]
    if rest:
        return {**tree, name: _changed(tree.get(name, {}), rest, value)}
    return {**{key: old for key, old in tree.items() if key != name}, **({} if value is None else {name: value})}


def _removed(tree: Object, path: list[str]) -> Object:
    name, rest = path[0], path[1:]
    if name not in tree:
        return tree
    return _changed(tree, [name], _removed(tree[name], rest) if rest else None)
