"""The promises that hold whatever happens: a state machine drives the shipped operator through random interleavings.

A step is one thing that happens in a cluster in memory (`fake_cluster`): the spec or the source changes, a Job or pod
makes progress, fails or is deleted, a watch falls behind, time passes, the API server rejects writes, the operator is
killed between two of them. The operator (`running_operator`) is the shipped one: its watches, timers and errors alone
decide when it reconciles. After every step it works until it is idle, and each of its reconciles is compared with the
promises of docs/internals/guarantees.md. Each example ends with everything healthy again, and must end in Ready.

The run is the same every time (`derandomize`) and has at least 10,000 steps. When it fails, hypothesis prints the
steps as a program; with `SHRINK=1 pytest --timeout=0` it first looks for a shorter one, which takes minutes.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from itertools import pairwise
from typing import Any, ClassVar

import msgspec
import pytest
from fake_api_server import FakeApiServer, Fault, FaultKind, Refusal
from fake_cluster import (
    CHILDREN,
    KIND_NAMED,
    KINDS,
    POLL_SECONDS,
    THE_DEPLOYMENT,
    THE_MODEL,
    THE_MONITOR,
    URIS,
    Cluster,
    is_ended,
    is_managed,
    is_ready,
    model_of,
    revision_of,
)
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from operator_makers import CONFIG, KEY, NOW
from running_operator import FakeSources, FakeStore, Operator, Record
from virtual_time import RESOLUTION, VirtualTimeLoop

from keras_api.reasons import Reason
from keras_api.resource import Condition, KerasModelStatus, SpecError, parse_model
from keras_operator.cache.informer import DISCOVERY_SECONDS
from keras_operator.cache.objects import controller_of
from keras_operator.decide.plan import decide
from keras_operator.decide.status import spec_invalid, summarize
from keras_operator.kube.drift import contains
from keras_operator.kube.kinds import JOB, KERAS_MODEL, POD, Kind, Object, Ref
from keras_operator.naming.labels import COMPONENT
from keras_operator.naming.names import job_name
from keras_operator.state.observed import Observed
from keras_operator.tasks import PREPARE
from keras_operator.tasks.state import Failed, may_be_stored

EXAMPLES = 215
STEPS_OF_AN_EXAMPLE = 50
# Situations in which the guarantees count, and how often each of them must occur.
LEAST = {
    "steps": 10_000,
    "ready": 1_000,
    "found in the store": 100,
    "invalid": 100,
    "pods lost under an invalid spec": 10,
    "errors": 100,
    "NameConflict": 100,
    "Forbidden": 10,
    "ApplyFailed": 10,
    "debounced": 100,
    "retried": 30,
    "killed": 10,
    "restarts at rest": 30,
}
# A reconcile may change what the next one observes; more reconciles than this at one moment are a loop.
RECONCILES_UNTIL_IDLE = 8
# Timers until the worker has repeated a reconcile that failed, or has written a status that was debounced.
TIMERS_UNTIL_REST = 20
# Enough for a Job that has failed often: pauses grow to ten minutes.
TICKS_UNTIL_READY = 60
LONGEST_REQUEUE_SECONDS = 600
# Of a cluster in which nothing happens: a Job may be retried, and each of its obstacles be reported.
MOST_WRITES = 12
# The source poller adds a fifth at most to its interval.
UNTIL_POLL_SECONDS = POLL_SECONDS * 1.2 + 1

CHILD_NAMES = sorted(kind.name for kind in CHILDREN)

# A container without the name by which it is merged.
UNMERGEABLE = {"spec": {"containers": [{"image": "x"}]}}


class Disturbance(Enum):
    """What another client does to a child."""

    DELETES = auto()
    EDITS = auto()
    ORPHANS = auto()
    """Removes its owner."""
    REPLACES = auto()
    """Deletes it, and creates an object of its own under the name."""

    def apply(self, cluster: Cluster, ref: Ref) -> None:
        if self is Disturbance.EDITS:
            cluster.edit_child(ref)
        elif self is Disturbance.ORPHANS:
            cluster.orphan(ref)
        else:
            cluster.delete(ref)
        if self is Disturbance.REPLACES:
            cluster.occupy(ref)


class Machine(RuleBasedStateMachine):
    """The steps, and the promises."""

    seen: ClassVar[Counter[str]] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualTimeLoop(NOW)
        self.cluster = Cluster(self.loop.now)
        self.server = FakeApiServer(self.cluster)
        self.sources = FakeSources(self.cluster)
        self.store = FakeStore(self.cluster)
        self.lagging: set[Kind] = set()
        self.store_was_silent = False
        self.checked: Any = None
        """The state in which the operator was last checked at rest."""
        self.operator: Operator | None = None
        self.start()

    @initialize(served=st.booleans())
    def begin(self, served: bool) -> None:
        if served:
            self.all_goes_well()

    # Users

    @rule(runtime=st.sampled_from(["auto", "onnxruntime", "tensorflow"]))
    def change_runtime(self, runtime: str) -> None:
        self.cluster.edit(serving__runtime=runtime)

    @rule(replicas=st.sampled_from([None, 0, 1, 2, 3]))
    def change_replicas(self, replicas: int | None) -> None:
        self.cluster.edit(serving__replicas=replicas)

    @rule(cpu=st.sampled_from([None, "1", "2"]), suspend=st.booleans())
    def change_resources(self, cpu: str | None, suspend: bool) -> None:
        self.cluster.edit(suspend=suspend, serving__resources=None if cpu is None else {"limits": {"cpu": cpu}})

    @rule(replicas=st.sampled_from([0, 1, 2]))
    def scale_the_deployment(self, replicas: int) -> None:
        if self.cluster.spec("serving").get("replicas") is None:
            self.cluster.scale(replicas)

    @rule(suspend=st.booleans(), replicas=st.sampled_from([1, 2]))
    def suspend_or_resume(self, suspend: bool, replicas: int) -> None:
        self.cluster.edit(suspend=suspend, serving__replicas=replicas)

    @rule(runtime=st.sampled_from(["onnxruntime", "tensorflow"]))
    def suspend_a_model_being_prepared(self, runtime: str) -> None:
        """Its Job runs to its end."""
        self.cluster.edit(suspend=False, serving__runtime=runtime)
        self.rest()
        self.cluster.control_jobs()
        self.cluster.edit(suspend=True)
        self.end_prepare("ok", True)

    @rule(data=st.sampled_from([None, {"data": "s3://models/a.csv"}, {"data": "s3://models/b.csv"}]))
    def change_validation(self, data: Object | None) -> None:
        self.cluster.edit(validation=data)

    @rule(uri=st.sampled_from(URIS), enabled=st.booleans())
    def change_address_and_monitoring(self, uri: str, enabled: bool) -> None:
        self.cluster.edit(source__uri=uri, monitoring__serviceMonitor__enabled=enabled)

    @rule(how=st.sampled_from([None, "it cannot be merged", "it cannot be parsed"]))
    def make_the_spec_invalid(self, how: str | None) -> None:
        self.fix_the_spec()
        if how == "it cannot be merged":
            self.cluster.edit(serving__podTemplate=UNMERGEABLE)
        elif how == "it cannot be parsed":
            self.cluster.edit(source__digest="of a later version of the operator")

    @rule(how=st.sampled_from(["it cannot be merged", "it cannot be parsed"]))
    def lose_pods_under_an_invalid_spec(self, how: str) -> None:
        """The observed fields of the status stay up to date."""
        self.make_the_spec_invalid(how)
        self.rest()
        for pod in self.cluster.managed(POD):
            self.cluster.delete(pod)

    def fix_the_spec(self) -> None:
        self.cluster.edit(serving__podTemplate=None, source__digest=None)

    @rule(kind=st.sampled_from([*CHILD_NAMES, POD.name, POD.name]), number=st.integers(0, 3), slowly=st.booleans())
    def delete_a_child_or_pod(self, kind: str, number: int, slowly: bool) -> None:
        for ref in self.chosen(kind, number):
            self.cluster.dismiss(ref) if slowly else self.cluster.delete(ref)

    @rule(kind=st.sampled_from(CHILD_NAMES), number=st.integers(0, 3), how=st.sampled_from(Disturbance))
    def disturb_a_child(self, kind: str, number: int, how: Disturbance) -> None:
        for ref in self.chosen(kind, number):
            how.apply(self.cluster, ref)

    @rule(kind=st.sampled_from(CHILD_NAMES), number=st.integers(0, 3), how=st.sampled_from(Disturbance))
    def disturb_a_child_behind_a_late_watch(self, kind: str, number: int, how: Disturbance) -> None:
        """The operator writes before it learns of the change."""
        self.lagging = {KIND_NAMED[kind]}
        self.disturb_a_child(kind, number, how)
        self.change_the_pods()

    def change_the_pods(self) -> None:
        """Change the spec in a field that changes the Deployment."""
        cpu = "1" if self.cluster.spec("serving").get("resources") == {"limits": {"cpu": "2"}} else "2"
        self.cluster.edit(suspend=False, serving__resources={"limits": {"cpu": cpu}})

    @rule(slowly=st.booleans(), noticed=st.booleans(), orphans=st.booleans(), collected=st.booleans())
    def recreate_the_model(self, slowly: bool, noticed: bool, orphans: bool, collected: bool) -> None:
        """Under the same name; the children of the first one exist until they are collected, or stay as orphans."""
        if slowly:
            self.cluster.dismiss(THE_MODEL)
            self.check_absence(noticed)
        if orphans:
            for ref in self.cluster.managed(*CHILDREN):
                self.cluster.orphan(ref)
        self.cluster.delete(THE_MODEL)
        self.check_absence(noticed)
        for _ in range(3 * collected):
            self.cluster.collect_garbage()
        self.cluster.create_model()

    def chosen(self, kind: str, number: int) -> Iterator[Ref]:
        """One of the objects of a kind, if there are any."""
        refs = self.cluster.managed(KIND_NAMED[kind])
        if refs:
            yield refs[number % len(refs)]

    # The source

    @rule(
        uri=st.sampled_from(URIS),
        answer=st.sampled_from(["etag-1", "etag-2", "etag-3", Reason.SOURCE_NOT_FOUND, Reason.SOURCE_TOO_LARGE]),
    )
    def upload_or_break(self, uri: str, answer: str | Reason) -> None:
        self.cluster.files[uri] = answer

    @rule()
    def roll_back(self) -> None:
        """A new file is served, and then the previous one comes back: its bundle may still be in the store."""
        before = self.cluster.files.copy()
        self.cluster.files = dict.fromkeys(URIS, "etag-4")
        self.store.answers.turn(True)
        self.all_goes_well()
        self.cluster.files = before
        self.poll()

    @rule()
    def poll(self) -> None:
        self.sources.answers.turn(True)
        self.pass_time(UNTIL_POLL_SECONDS)

    @rule(answers=st.booleans())
    def silence_the_source(self, answers: bool) -> None:
        self.sources.answers.turn(answers)

    # The cluster

    @rule(seconds=st.sampled_from([1, 5, 11, 30, 61, 700]))
    def let_time_pass(self, seconds: int) -> None:
        writes = len(self.server.writes)
        self.pass_time(seconds)
        assert len(self.server.writes) - writes <= MOST_WRITES, "time alone causes few writes"

    @rule()
    def control_jobs(self) -> None:
        self.cluster.control_jobs()

    @rule(steps=st.integers(1, 3), reports=st.booleans())
    def control_deployment(self, steps: int, reports: bool) -> None:
        for _ in range(steps):
            self.cluster.control_deployment()
        if reports:
            self.cluster.report_deployment()

    @rule()
    def exceed_the_progress_deadline(self) -> None:
        self.cluster.exceed_progress_deadline()

    @rule(
        outcome=st.sampled_from(
            ["ok", "ok", "killed", "late", Reason.MODEL_UNSAFE, Reason.SOURCE_CHANGED, Reason.STORE_UNAVAILABLE]
        ),
        noticed=st.booleans(),
    )
    def end_prepare(self, outcome: str | Reason, noticed: bool) -> None:
        self.cluster.control_jobs()
        self.cluster.end_prepare(outcome)
        if noticed:
            self.cluster.control_jobs()

    @rule(outcome=st.sampled_from(["ok", Reason.STORE_UNAVAILABLE]))
    def lose_a_report(self, outcome: str | Reason) -> None:
        """The Job's end is reported without the termination messages of its pod, which does not exist any more."""
        self.end_prepare(outcome, True)
        for pod in self.cluster.all(POD):
            if pod["metadata"]["labels"][COMPONENT] == "prepare":
                self.cluster.dismiss(Ref(POD, pod["metadata"]["name"]))
        self.cluster.collect_garbage()

    @rule()
    def start_servers(self) -> None:
        self.cluster.start_servers()

    @rule()
    def crash_servers(self) -> None:
        self.cluster.crash_servers()

    @rule()
    def fail_mounts(self) -> None:
        self.cluster.fail_mounts()

    @rule()
    def lose_bundles(self) -> None:
        self.cluster.lose_bundles()

    @rule(answers=st.booleans())
    def silence_the_store(self, answers: bool) -> None:
        self.store.answers.turn(answers)
        self.store_was_silent |= not answers

    @rule()
    def collect_garbage(self) -> None:
        self.cluster.collect_garbage()

    @rule(kinds=st.sets(st.sampled_from(CHILD_NAMES)), refusal=st.sampled_from(Refusal))
    def refuse_writes(self, kinds: set[str], refusal: Refusal) -> None:
        self.free_names()
        self.server.refusals = {KIND_NAMED[name]: refusal for name in kinds}

    def free_names(self) -> None:
        """The objects of other clients are deleted. The operator does not watch those."""
        for ref, obj in list(self.cluster.objects.items()):
            if ref.kind in CHILDREN and not is_managed(obj):
                self.cluster.delete(ref)

    @rule()
    def toggle_service_monitors(self) -> None:
        if self.cluster.has_service_monitors:
            self.cluster.remove_service_monitors()
        else:
            self.cluster.has_service_monitors = True

    # The operator and its watches

    @rule(kinds=st.sets(st.sampled_from(sorted(KIND_NAMED)), max_size=4))
    def fall_behind(self, kinds: set[str]) -> None:
        self.lagging = {KIND_NAMED[name] for name in kinds}

    @rule(first=st.booleans())
    def report_writes_before_their_answers(self, first: bool) -> None:
        self.server.on_write = self.hear if first else None

    @rule(stays_down=st.booleans())
    def restart(self, stays_down: bool) -> None:
        self.stop()
        if not stays_down:
            self.start()

    @rule(kind=st.sampled_from(FaultKind), after=st.integers(0, 4), deleted=st.booleans())
    def interrupt_a_write(self, kind: FaultKind, after: int, deleted: bool) -> None:
        """One of the next writes fails, is the operator's last, or comes together with a change of the spec."""
        self.server.fault = Fault(kind, after)
        if deleted:
            for ref in self.cluster.managed(*CHILDREN):
                self.cluster.delete(ref)
        else:
            self.change_the_pods()

    @rule()
    def restart_at_rest(self) -> None:
        """A restart writes nothing, polls no source and starts no Job."""
        self.server.fault = None
        self.lagging = set()
        self.store.answers.turn(True)
        self.start()
        # Whether an optional kind is served is not watched, but discovered at an interval.
        self.pass_time(DISCOVERY_SECONDS)
        record = self.rest()
        assert record is not None
        assert record.observed is not None
        resolution, observed, model = record.observed.resolution, record.observed, record.model
        assert model is not None
        if record.errors:
            return  # the operator retries at an interval, a new process at once
        known = record.plan is None or model.spec.suspend or resolution.fingerprint or resolution.failure
        # The new process asks the store again for a bundle of which only the store knows.
        manifest = self.cluster.manifest(observed.revision)
        stored = manifest.model if manifest is not None else None
        if not known or (may_be_stored(PREPARE, model, observed) and stored != observed.stored):
            return
        self.sources.answers.turn(False)
        requests, writes = self.sources.requests, len(self.server.writes)
        self.stop()
        self.start()
        again = self.rest()
        assert again is not None
        assert plain(again.status) == plain(record.status), "a restart at rest reports the same"
        assert self.server.writes[writes:] == [], "a restart at rest writes nothing"
        if record.plan is not None and resolution.fingerprint is not None:
            assert self.sources.requests == requests, "a restart at rest polls no source"
        self.sources.answers.turn(True)
        Machine.seen["restarts at rest"] += 1

    @rule()
    def all_goes_well(self) -> None:
        """Whatever has happened: when nothing fails any more, the model becomes Ready."""
        self.cluster.edit(suspend=False)
        self.fix_the_spec()
        self.server.fault = None
        self.server.refusals = {}
        self.free_names()
        self.cluster.warnings = {}
        self.sources.answers.turn(True)
        self.lagging = set()
        self.start()
        for tick in range(TICKS_UNTIL_READY):
            record = self.rest()
            assert record is not None
            if self.is_ready(record):
                return
            uri = self.cluster.spec("source")["uri"]
            if isinstance(self.cluster.files[uri], Reason) or is_failed(record):
                self.cluster.files[uri] = f"good-{tick}"
            self.cluster.collect_garbage()
            self.cluster.control_jobs()
            self.cluster.end_prepare("ok")
            self.cluster.control_jobs()
            self.cluster.control_deployment()
            self.cluster.start_servers()
            self.cluster.report_deployment()
            record = self.rest()
            assert record is not None
            self.pass_time(record.requeue or UNTIL_POLL_SECONDS)
        raise AssertionError(f"not Ready although nothing fails: {record.status}")

    def is_ready(self, record: Record) -> bool:
        if record.observed is None or record.status is None or record.model is None:
            return False
        found, answer = record.observed.resolution, self.cluster.files[record.model.spec.source.uri]
        current = found.fingerprint is not None and found.fingerprint.value == answer and found.failure is None
        return current and conditions_of(record.status)["Ready"].status == "True"

    def teardown(self) -> None:
        try:
            self.all_goes_well()
        finally:
            self.stop()
            self.loop.close()

    def start(self) -> None:
        if self.operator is None:
            self.operator = Operator(self.loop, self.server, self.sources, self.store)

    def stop(self) -> None:
        if self.operator is not None:
            self.operator.kill()
            self.operator = None

    # Time

    def pass_time(self, seconds: float) -> None:
        end = self.loop.time() + seconds
        self.settle()
        while (rest := end - self.loop.time()) > RESOLUTION:
            self.loop.advance(rest)
            self.settle()

    def settle(self) -> None:
        """Deliver what the watches report, and let the operator work until it is idle."""
        self.loop.run_until_idle()
        reconciles = 0
        while self.operator is not None:
            if self.server.killed:
                Machine.seen["killed"] += 1
                self.stop()
            elif self.operator.has_ended():
                self.operator = None
                self.start()
            else:
                records = self.operator.new_records()
                for record in records:
                    with self.operator.explained():
                        self.check(record)
                reconciles += len(records)
                assert reconciles <= RECONCILES_UNTIL_IDLE, f"the operator never becomes idle: {records[-1].writes}"
                assert self.server.violations == [], "objects of other owners are left alone"
                if not self.hear():
                    return
            with self.operator.explained() if self.operator else nullcontext():
                self.loop.run_until_idle()

    def hear(self) -> bool:
        assert self.operator is not None
        began = self.operator.watch(self.lagging)
        return any([began, *(self.operator.deliver(kind) for kind in KINDS if kind not in self.lagging)])

    def rest(self) -> Record | None:
        """Let the operator work until it waits for an event, or for a time to come.

        Returns:
            The last reconcile; None when the operator does not run (any more).
        """
        self.settle()
        for _ in range(TIMERS_UNTIL_REST):
            operator = self.operator
            if operator is None:
                return None
            if not (operator.is_busy or operator.last.error or operator.last.debounced):
                with operator.explained():
                    self.check_rest(operator)
                return operator.last
            self.loop.advance(LONGEST_REQUEUE_SECONDS)
            self.settle()
        raise AssertionError(f"never comes to rest: {operator.last.error or operator.last.writes}")

    # The promises

    @invariant()
    def the_promises_hold(self) -> None:
        Machine.seen["steps"] += 1
        self.rest()

    def check(self, record: Record) -> None:
        """Compare one reconcile with the promises."""
        if record.error is not None:
            Machine.seen["retried"] += 1
        if record.model is None:
            assert record.error is not None or record.writes == [], "nothing is written without a model"
            return
        self.check_deployment(record)
        self.check_jobs(record)
        if record.status is None or record.observed is None:
            return
        observed, status = record.observed, record.status
        known = {ref: self.cluster.history[child.version] for ref, child in observed.children.items()}
        servers = [self.cluster.history[pod.version] for pod in observed.servers()]
        ready = [revision_of(pod) for pod in servers if is_ready(pod)]
        conditions = conditions_of(status)
        self.check_truth(record, known, servers, ready, conditions)
        self.check_hindrances(record, conditions)
        self.check_memory(record, conditions)
        if record.debounced is not None:
            Machine.seen["debounced"] += 1
            before = conditions_of(record.model.status).get("Ready")
            assert before is None or before.status == "False", "Ready is withdrawn without a delay"

    def check_truth(
        self,
        record: Record,
        known: dict[Ref, Object],
        servers: list[Object],
        ready: list[str],
        conditions: dict[str, Condition],
    ) -> None:
        assert record.model is not None
        assert record.observed is not None
        assert record.status is not None
        status, model, observed = record.status, record.model, record.observed
        spec = model.spec
        assert (conditions["Available"].status == "True") == bool(ready), "Available is whether a pod is ready"
        assert status.serving_revision in (ready or [""]), "servingRevision is the revision of ready pods"
        assert status.ready_replicas == len(ready)
        assert status.observed_generation == model.metadata.generation
        if conditions["Ready"].status == "True":
            Machine.seen["ready"] += 1
            live = known[THE_DEPLOYMENT]
            desired = live["spec"]["replicas"] if spec.serving.replicas is None else spec.serving.replicas
            assert controller_of(live) == model.metadata.uid, "Ready is about the model's own Deployment"
            assert observed.revision, "Ready implies that the desired revision is known"
            assert revision_of(live) == observed.revision == status.prepared_revision
            assert ready == [observed.revision] * desired, "Ready implies that all replicas and no other pods serve"
            cpu = live["spec"]["template"]["spec"]["containers"][0]["resources"].get("limits", {}).get("cpu")
            assert cpu == spec.serving.resources.limits.get("cpu"), "Ready implies that the pods are as the spec asks"
            assert live["status"]["observedGeneration"] == live["metadata"]["generation"], "Ready is about this spec"
        prepared = conditions.get("ModelPrepared")
        if prepared is not None and prepared.status == "True":
            assert status.desired_revision in self.cluster.prepared, "ModelPrepared implies that prepare has succeeded"
        monitored = (
            spec.monitoring.service_monitor.enabled
            and THE_MONITOR in known
            and THE_MONITOR.kind in observed.served_kinds
        )
        assert monitored or conditions["MonitoringReady"].status == "False", "MonitoringReady needs a ServiceMonitor"
        combination = [conditions[name].status for name in ("Ready", "Reconciling", "Stalled")]
        if spec.suspend:
            assert combination[1:] == ["False", "False"], "a suspended model is neither reconciling nor stalled"
        else:
            assert combination.count("True") == 1, "one of Ready, Reconciling and Stalled, as kstatus reads them"

    def check_hindrances(self, record: Record, conditions: dict[str, Condition]) -> None:
        """Every error is reported, and an invalid spec changes nothing."""
        assert record.model is not None
        assert record.status is not None
        ready = conditions["Ready"]
        if record.plan is None:
            Machine.seen["invalid"] += 1
            lost = record.model.status.ready_replicas > record.status.ready_replicas
            Machine.seen["pods lost under an invalid spec"] += lost
            assert child_writes(record) == [], "an invalid spec changes no child"
            assert (ready.status, ready.reason) == ("False", "SpecInvalid")
        Machine.seen["errors"] += bool(record.errors)
        Machine.seen.update({str(error.reason) for error in record.errors.values()})
        if THE_MONITOR in record.errors:
            assert conditions["MonitoringReady"].status == "False", "an error with a ServiceMonitor is reported"
        reasons = {error.reason for ref, error in record.errors.items() if ref != THE_MONITOR}
        assert not reasons or (ready.status == "False" and ready.reason in reasons), "an error with a child is reported"

    def check_deployment(self, record: Record) -> None:
        assert record.model is not None
        uid = record.model.metadata.uid
        old, new = own(record.before.get(THE_DEPLOYMENT), uid), own(record.after.get(THE_DEPLOYMENT), uid)
        if new is not None and (old is None or revision_of(old) != revision_of(new)):
            assert revision_of(new) in self.cluster.prepared, "only a prepared revision is deployed"
        prepared = record.plan is not None and record.plan.chain.summary is not None
        if old is not None and not prepared:
            assert new is not None
            assert images(new) == images(old), "the served revision stays while the next one is prepared"
            assert revision_of(new) == revision_of(old), "the served revision stays while the next one is prepared"
        if record.model.spec.suspend:
            assert child_writes(record) == [], "no child of a suspended model is changed"

    def check_jobs(self, record: Record) -> None:
        assert record.model is not None
        if record.plan is None or record.observed is None:
            return
        revision, observed = record.observed.revision, record.observed
        done = record.plan.chain.summary is not None
        Machine.seen["found in the store"] += done and "status" in record.writes and observed.stored is not None
        ref = Ref(JOB, job_name(KEY.name, PREPARE.name, revision))
        if f"create {ref}" not in record.writes:
            return
        assert revision, "no Job before the source has answered"
        if record.model.status.prepared_revision == revision:
            assert revision in self.cluster.lost, "a prepared revision is not prepared again"
        old = record.before.get(ref)
        if old is None and not self.store_was_silent:
            assert revision not in self.cluster.bundles - self.cluster.lost, "a bundle in the store needs no Job"
        if own(old, record.model.metadata.uid) is not None:
            assert is_ended(old), "a Job that runs is not replaced"
            uid = old["metadata"]["uid"]
            seen_end = any(pod.owner == uid for pod in observed.pods)
            assert uid not in self.cluster.condemned or not seen_end, "what can only fail again is not retried"

    def check_memory(self, record: Record, conditions: dict[str, Condition]) -> None:
        assert record.model is not None
        assert record.status is not None
        status, before = record.status, record.model.status
        for old in before.conditions:
            new = conditions[old.type]
            moved = new.last_transition_time != old.last_transition_time
            assert not moved or new.status != old.status, "a transition time changes with the status only"
        assert status.last_failure is not None or before.last_failure is None, "the last failure is kept"
        if status.prepared_revision:
            assert status.model == model_of(status.prepared_revision), "status.model is the prepared revision's"
        elif before.prepared_revision:
            raise AssertionError("the prepared revision is not forgotten")
        revisions = [entry.revision for entry in status.history]
        assert len(revisions) <= 5
        assert all(a != b for a, b in pairwise(revisions)), "a revision is noted once"
        assert set(revisions) <= self.cluster.prepared

    def check_rest(self, operator: Operator) -> None:
        """The operator waits: nothing is left to do, a decision is repeatable, and every Job that runs is needed."""
        state = operator, operator.reconciles, self.loop.time(), len(self.cluster.history)
        if state == self.checked:
            return  # nothing has happened
        self.checked = state
        record = operator.last
        if not self.lagging:
            self.check_cache(operator)
        if record.status is None or record.observed is None or record.model is None:
            return
        just_looked = record.ended == self.loop.now() and record.writes == [] and not record.errors
        if record.requeue is None or just_looked:
            record = self.reconcile_again(operator)
        assert record.requeue is None or record.requeue <= LONGEST_REQUEUE_SECONDS
        body, live = operator.cache.model(KEY), self.cluster.objects[THE_MODEL]
        if body is None or record.model is None or record.model.metadata.uid != live["metadata"]["uid"]:
            return
        status, observed = record.status, record.observed
        assert status is not None
        assert observed is not None
        assert body["status"] == plain(status), "the published status is the one of the last reconcile"
        if child_writes(record) == []:
            self.check_purity(record, body)
            self.check_children(record)

    def check_purity(self, record: Record, body: Object) -> None:
        assert record.observed is not None
        assert record.status is not None
        observed, status = record.observed, record.status
        assert plain(restated(body, record, observed)) == plain(status), "the same observation leads to the same status"
        later = restated(body, record, replace(observed, now=observed.now + timedelta(seconds=1)))
        if gist(later) == gist(status):
            assert later == status, "no timestamp changes alone"

    def reconcile_again(self, operator: Operator) -> Record:
        """Nothing has happened since the last reconcile: another one has no effect."""
        requests = self.sources.requests
        task, record = operator.reconcile_again()
        self.loop.run_until_idle()
        assert task.done()
        task.result()
        assert record.observed is not None
        assert operator.last.observed is not None
        if record.observed.evidence != operator.last.observed.evidence:
            return record  # while a model is suspended or stalled, no time is set for the next look at Events
        assert plain(record.status) == plain(operator.last.status), "nothing has happened that status does not say"
        assert record.writes == [], "what a reconcile without an event would write was written before"
        assert record.debounced is None
        assert self.sources.requests == requests
        self.check(record)
        return record

    def check_cache(self, operator: Operator) -> None:
        managed = {
            (ref, obj["metadata"]["resourceVersion"])
            for ref, obj in self.cluster.objects.items()
            if ref != THE_MODEL and is_managed(obj)
        }
        known = {(ref, str(child.version)) for ref, child in operator.cache.children(KEY).items()}
        known |= {(Ref(POD, pod.name), str(pod.version)) for pod in operator.cache.pods(KEY)}
        assert known == managed, "the cache has every object in its last version"
        uids = {job["metadata"]["uid"] for job in self.cluster.all(JOB)}
        removed = {pod.owner for pod in operator.cache.removed_pods(KEY)}
        assert removed <= uids, "the last pod of a Job is forgotten with the Job"
        body, live = operator.cache.model(KEY), self.cluster.objects.get(THE_MODEL)
        if body is not None and live is not None:
            assert body["metadata"]["resourceVersion"] == live["metadata"]["resourceVersion"]

    def check_children(self, record: Record) -> None:
        assert record.model is not None
        assert record.observed is not None
        assert record.status is not None
        if self.lagging or record.model.spec.suspend or record.errors or record.plan is None:
            return
        revision = record.observed.revision
        uid = record.model.metadata.uid
        deployed = own(self.cluster.objects.get(THE_DEPLOYMENT), uid)
        settled = record.plan.chain.summary is not None
        if settled and deployed is not None and "deletionTimestamp" not in deployed["metadata"]:
            assert record.status.prepared_revision == revision_of(deployed), "preparedRevision is what is deployed"
        jobs = [job for job in self.cluster.all(JOB) if own(job, uid) and "deletionTimestamp" not in job["metadata"]]
        running = {revision_of(job) for job in jobs if job["status"].get("active")}
        assert not revision or running <= {revision}, "no Job runs that is not needed"
        for desired in (each for wave in record.plan.waves for each in wave if self.cluster.serves(each.ref.kind)):
            live = self.cluster.objects[desired.ref]
            if "deletionTimestamp" not in live["metadata"]:
                assert contains(live, desired.rendered), "every child is as the plan asks"

    def check_absence(self, noticed: bool) -> None:
        """A model that does not exist causes no requests."""
        if not noticed or self.operator is None or KERAS_MODEL in self.lagging:
            return
        self.server.fault = None
        self.settle()
        before = self.sources.requests, self.store.requests, len(self.server.writes), len(self.server.reads)
        self.pass_time(2 * UNTIL_POLL_SECONDS)
        after = self.sources.requests, self.store.requests, len(self.server.writes), len(self.server.reads)
        assert before == after, "a model that does not exist causes no requests"


def is_failed(record: Record) -> bool:
    return record.plan is not None and isinstance(record.plan.chain.state, Failed)


def own(obj: Object | None, uid: str) -> Any:
    """An object, if the model with this uid owns it."""
    return obj if obj is not None and controller_of(obj) == uid else None


def child_writes(record: Record) -> list[str]:
    return [write for write in record.writes if write not in ("status", "create Event")]


def conditions_of(status: KerasModelStatus) -> dict[str, Condition]:
    return {condition.type: condition for condition in status.conditions}


def images(deployment: Object) -> list[str]:
    return [each["image"] for each in deployment["spec"]["template"]["spec"]["containers"]]


def plain(status: KerasModelStatus | None) -> Any:
    return msgspec.to_builtins(status)


def restated(body: Object, record: Record, observed: Observed) -> KerasModelStatus:
    """The status that follows from what was observed."""
    try:
        model = parse_model(body)
    except SpecError as error:
        return spec_invalid(parse_model({**body, "spec": {"source": {"uri": ""}}}), error, observed, CONFIG)
    try:
        plan = decide(model, observed, CONFIG)
    except SpecError as error:
        return spec_invalid(model, error, observed, CONFIG)
    assert plan == decide(model, observed, CONFIG), "a decision follows from what was observed"
    return summarize(model, observed, plan, record.errors, CONFIG)


def gist(status: KerasModelStatus) -> Any:
    conditions = [(each.status, each.reason, each.message) for each in status.conditions]
    failure = status.last_failure
    return conditions, failure and (failure.step, failure.reason, failure.message, failure.revision)


@contextmanager
def silent_logs() -> Iterator[None]:
    """Thousands of errors are logged, all of them intended; formatting them takes long."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@pytest.mark.timeout(900)  # two minutes of computing
def test_the_promises_hold_in_every_interleaving() -> None:
    with silent_logs():
        run_state_machine_as_test(
            Machine,
            settings=settings(
                derandomize=True,
                database=None,
                deadline=None,
                max_examples=EXAMPLES,
                stateful_step_count=STEPS_OF_AN_EXAMPLE,
                suppress_health_check=list(HealthCheck),
                phases=[Phase.generate, *([Phase.shrink] if "SHRINK" in os.environ else [])],
            ),
        )
    rare = {name: Machine.seen[name] for name, least in LEAST.items() if Machine.seen[name] < least}
    assert rare == {}, "too few steps in these situations"
