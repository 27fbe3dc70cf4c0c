"""What holds whatever happens: a state machine drives the pure decision through random interleavings of observations.

A step is one thing that happens in a cluster in memory (`stand_in_cluster`): the spec or the source changes, a Job or
pod gets on, fails or is deleted, a watch falls behind, time passes, the operator dies in the middle of its writes.
After every step the operator hears what its watches deliver and takes turns (observe, decide, act, summarize) until it
rests; `Machine.check` checks the promises of docs/internals/guarantees.md after every turn. Each example ends with
everything healthy again, and must end in Ready. Steps also make the spec mean nothing, and let writes fail.

The run is the same every time (`derandomize`): at least `STEPS` steps in about 20 seconds. When it fails, hypothesis
prints the steps as a program; with `SHRINK=1 pytest --timeout=0` it first looks for a shorter one, which takes minutes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise
from typing import Any, ClassVar

import msgspec
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from keras_operator.decide.preparation import may_be_stored
from operator_makers import KEY, SETTINGS
from stand_in_cluster import KINDS, THE_DEPLOYMENT, THE_MODEL, URIS, Cluster, is_ended, is_ready, model_of, revision_of

from keras_api.manifest import ModelSummary
from keras_api.reasons import Reason
from keras_api.resource import Condition, KerasModel, KerasModelStatus, SourceSpec, SpecError, parse_model
from keras_operator.cache.cache import Cache
from keras_operator.decide.debounce import debounce_seconds
from keras_operator.decide.plan import Plan, decide
from keras_operator.decide.status import spec_invalid, summarize
from keras_operator.kube.drift import annotated
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import CHILDREN, JOB, KERAS_MODEL, POD, SERVICE_MONITOR, Kind, Object, Ref
from keras_operator.naming.labels import COMPONENT
from keras_operator.naming.names import prepare_job_name
from keras_operator.state.failure import Failure, needs_human
from keras_operator.state.observed import Observed, observe
from keras_operator.state.source_resolution import SourceResolution, remembered
from keras_store.sources.fingerprint import Fingerprint

EXAMPLES = 260
STEPS_OF_AN_EXAMPLE = 50
STEPS = 10_000
# A turn may change what the next one sees; more turns than this without news are a loop.
TURNS_UNTIL_REST = 4
# Enough for a Job that has failed often: pauses grow to ten minutes.
TICKS_UNTIL_READY = 60

# A container without the name by which it is merged.
UNMERGEABLE = {"spec": {"containers": [{"image": "x"}]}}

THE_MONITOR = Ref(SERVICE_MONITOR, KEY.name)
KIND_NAMED = {kind.name: kind for kind in CHILDREN}


class KilledError(Exception):
    """The operator was killed between two writes, or the API server answered no more."""


@dataclass
class Asked:
    """What the resolver keeps of the model's source, without its timers."""

    source: SourceSpec
    resolution: SourceResolution
    doubted: str = ""


@dataclass
class Turn:
    """One turn of the operator, and what it saw."""

    model: KerasModel
    observed: Observed
    plan: Plan | SpecError
    """What was decided, or why the spec cannot be acted upon."""
    problems: dict[Ref, ApplyError]
    status: KerasModelStatus
    writes: list[str]
    held: float | None
    """Seconds for which the status was not written yet."""


class Operator:
    """The loop around the pure functions, as in `keras_operator.reconcile`; what it remembers is lost with it."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.world = Cache()
        self.asked: Asked | None = None
        self.shelf: tuple[str, ModelSummary | None] | None = None
        """Revision that the store was asked for, and its answer."""
        for kind in KINDS:
            cluster.watches[kind].clear()
            for obj in cluster.all(kind):
                self.world.see(kind, obj)

    def hear(self, kind: Kind) -> None:
        """Take in what a watch has to say."""
        events = self.cluster.watches[kind]
        while events:
            there, obj = events.popleft()
            (self.world.see if there else self.world.forget)(kind, obj)

    def look(self, model: KerasModel) -> SourceResolution:
        """As `SourcePoller.look`."""
        source, asked = model.spec.source, self.asked
        if model.spec.suspend:
            self.asked = None
            return asked.resolution if asked is not None and asked.source.uri == source.uri else remembered(model)
        if asked is None:
            self.asked = Asked(source, remembered(model))
        elif asked.source != source:
            self.asked = Asked(source, asked.resolution if asked.source.uri == source.uri else SourceResolution())
        assert self.asked is not None
        return self.asked.resolution

    def poll(self) -> None:
        """The source answers."""
        if self.asked is None:
            return
        answer = self.cluster.files[self.asked.source.uri]
        if isinstance(answer, Reason):
            failure = Failure("resolve", answer, f"{self.asked.source.uri}: no", final=needs_human(answer))
            self.asked.resolution = SourceResolution(self.asked.resolution.fingerprint, failure)
        else:
            self.asked.resolution = SourceResolution(Fingerprint(answer, 100_000))

    def doubt(self) -> None:
        """As `SourcePoller.doubt`."""
        found = self.asked.resolution.fingerprint if self.asked is not None else None
        if self.asked is not None and found is not None and self.asked.doubted != found.value:
            self.asked.doubted = found.value
            self.poll()

    def turn(self, may_write: int | None = None) -> Turn:
        """One turn; raises `KilledError` after so many writes."""
        body = self.world.model(KEY)
        assert body is not None
        model, readable = read(body)
        resolution = self.look(model) if readable else SourceResolution()
        observed = self.observe(model, resolution)
        plan = judge(model, observed, readable)
        writes: list[str] = []
        problems: dict[Ref, ApplyError] = {}

        def write(what: str, action: Callable[[], Any]) -> None:
            if len(writes) == may_write:
                raise KilledError
            if action() is not False:
                writes.append(what)

        if isinstance(plan, Plan):
            failure = plan.preparation.failure
            if failure is not None and failure.reason == Reason.SOURCE_CHANGED:
                self.doubt()
            problems = self.act(plan, observed, write)
            observed = self.observe(model, resolution)
        status = say(model, observed, plan, problems)
        content = msgspec.to_builtins(status)
        held = debounce_seconds(model, observed, status) if isinstance(plan, Plan) else None
        if held is None and content != body["status"]:
            write("status", lambda: self.world.see(KERAS_MODEL, self.cluster.write_status(content)))
        return Turn(model, observed, plan, problems, status, writes, held)

    def observe(self, model: KerasModel, resolution: SourceResolution) -> Observed:
        observed = observe(model, self.world, resolution, self.cluster.now)
        observed = replace(observed, has_service_monitors=self.cluster.has_service_monitors)
        return replace(observed, stored=self.look_into_store(model, observed))

    def look_into_store(self, model: KerasModel, observed: Observed) -> ModelSummary | None:
        """As `BundleLookup.look`."""
        if not may_be_stored(model, observed):
            self.shelf = None
            return None
        if self.shelf is None or self.shelf[0] != observed.revision:
            self.shelf = (observed.revision, self.cluster.manifest(observed.revision))
        return self.shelf[1]

    def act(
        self, plan: Plan, observed: Observed, write: Callable[[str, Callable[[], Any]], None]
    ) -> dict[Ref, ApplyError]:
        """As `Applier.act`. Returns what could not be written."""
        problems: dict[Ref, ApplyError] = {}

        def can_be_written(ref: Ref) -> bool:
            hindrance = self.cluster.hindrance(ref)
            if hindrance is not None:
                problems[ref] = ApplyError(hindrance, f"{ref}: no")
            return hindrance is None

        for rendered in plan.apply:
            ref = Ref(KIND_NAMED[rendered["kind"]], rendered["metadata"]["name"])
            child = observed.children.get(ref)
            differs = child is None or (not child.deleting and child.rendered != annotated(rendered)[1])
            if differs and can_be_written(ref):
                write(f"apply {ref}", lambda ref=ref, obj=rendered: self.apply(ref.kind, obj))
        if plan.start is not None:
            ref = Ref(JOB, plan.start["metadata"]["name"])
            child = observed.children.get(ref)
            if (child is None or not child.deleting) and can_be_written(ref):
                if child is not None:
                    write(f"delete {ref}", lambda: self.cluster.delete(ref, child.uid))
                write(f"start {ref}", lambda: self.apply(JOB, plan.start))
        for ref in plan.delete:
            if can_be_written(ref):
                write(f"delete {ref}", lambda ref=ref: self.cluster.delete(ref, observed.children[ref].uid))
        return problems

    def apply(self, kind: Kind, rendered: Object) -> bool:
        before = len(self.cluster.history)
        self.world.see(kind, self.cluster.apply(kind, rendered))
        return len(self.cluster.history) > before


def read(body: Object) -> tuple[KerasModel, bool]:
    """The resource, and whether its spec can be read; as `Reconciler._refuse` where it cannot."""
    try:
        return parse_model(body), True
    except SpecError:
        return parse_model({**body, "spec": {"source": {"uri": ""}}}), False


def judge(model: KerasModel, observed: Observed, readable: bool) -> Plan | SpecError:
    """What is decided, or why the spec cannot be acted upon."""
    try:
        return decide(model, observed, SETTINGS) if readable else SpecError("it cannot be read")
    except SpecError as error:
        return error


def say(
    model: KerasModel, observed: Observed, plan: Plan | SpecError, problems: dict[Ref, ApplyError]
) -> KerasModelStatus:
    """The status to write."""
    if isinstance(plan, SpecError):
        return spec_invalid(model, plan, observed)
    return summarize(model, observed, plan, problems)


class Machine(RuleBasedStateMachine):
    """What can happen, and what must hold all the while."""

    steps: ClassVar[int] = 0
    refused: ClassVar[int] = 0
    outlived: ClassVar[int] = 0
    hindered: ClassVar[int] = 0
    said_ready: ClassVar[int] = 0
    found_stored: ClassVar[int] = 0
    held: ClassVar[int] = 0

    def __init__(self) -> None:
        super().__init__()
        self.cluster = Cluster()
        self.operator: Operator | None = Operator(self.cluster)
        self.lagging: set[Kind] = set()
        self.resting: KerasModelStatus | None = None
        self.was_silent = False

    @initialize(served=st.booleans())
    def begin(self, served: bool) -> None:
        if served:
            self.all_goes_well()

    # The user.

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
        if self.cluster.objects[THE_MODEL]["spec"].get("serving", {}).get("replicas") is None:
            self.cluster.scale(replicas)

    @rule(suspend=st.booleans(), replicas=st.sampled_from([1, 2]))
    def suspend_or_resume(self, suspend: bool, replicas: int) -> None:
        self.cluster.edit(suspend=suspend, serving__replicas=replicas)

    @rule(runtime=st.sampled_from(["onnxruntime", "tensorflow"]))
    def suspend_a_model_being_prepared(self, runtime: str) -> None:
        """Its Job goes on to its end."""
        self.cluster.edit(suspend=False, serving__runtime=runtime)
        if self.operator is not None:
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

    @rule(how=st.sampled_from([None, "it cannot be merged", "it cannot be read"]))
    def make_the_spec_mean_nothing(self, how: str | None) -> None:
        self.mend_the_spec()
        if how == "it cannot be merged":
            self.cluster.edit(serving__podTemplate=UNMERGEABLE)
        elif how == "it cannot be read":
            self.cluster.edit(source__digest="of an operator to come")

    @rule(how=st.sampled_from(["it cannot be merged", "it cannot be read"]))
    def lose_pods_under_a_spec_that_means_nothing(self, how: str) -> None:
        """What is observed goes on being told."""
        self.make_the_spec_mean_nothing(how)
        if self.operator is not None:
            self.rest()
        for pod in self.cluster.all(POD):
            self.cluster.delete(Ref(POD, pod["metadata"]["name"]))

    def mend_the_spec(self) -> None:
        self.cluster.edit(serving__podTemplate=None, source__digest=None)

    @rule(
        kind=st.sampled_from([*CHILDREN, POD, POD]),
        number=st.integers(0, 3),
        slowly=st.booleans(),
    )
    def delete_a_child_or_pod(self, kind: Kind, number: int, slowly: bool) -> None:
        refs = [ref for ref in self.cluster.objects if ref.kind == kind]
        if refs:
            ref = refs[number % len(refs)]
            self.cluster.dismiss(ref) if slowly else self.cluster.delete(ref)

    # The source.

    @rule(
        uri=st.sampled_from(URIS),
        answer=st.sampled_from(["etag-1", "etag-2", "etag-3", Reason.SOURCE_NOT_FOUND, Reason.SOURCE_TOO_LARGE]),
    )
    def upload_or_break(self, uri: str, answer: str | Reason) -> None:
        self.cluster.files[uri] = answer

    @rule()
    def roll_back(self) -> None:
        """A new file is taken up, and then the one before is there again: its bundle may still be in the store."""
        before = self.cluster.files.copy()
        self.cluster.files = dict.fromkeys(URIS, "etag-4")
        self.all_goes_well()
        self.cluster.files = before
        self.poll()

    @rule()
    def poll(self) -> None:
        if self.operator is not None:
            self.operator.poll()

    # The cluster.

    @rule(seconds=st.sampled_from([1, 5, 11, 30, 61, 700]))
    def pass_time(self, seconds: int) -> None:
        self.cluster.pass_time(seconds)

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
    def lose_patience(self) -> None:
        self.cluster.lose_patience()

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
        """The Job's end comes without the last words of its pod, which is gone."""
        self.end_prepare(outcome, True)
        for pod in self.cluster.all(POD):
            if pod["metadata"]["labels"][COMPONENT] == "prepare":
                self.cluster.dismiss(Ref(POD, pod["metadata"]["name"]))
        self.cluster.collect()

    @rule()
    def start_servers(self) -> None:
        self.cluster.start_servers()

    @rule()
    def crash_servers(self) -> None:
        self.cluster.crash_servers()

    @rule()
    def lose_bundles(self) -> None:
        self.cluster.lose_bundles()

    @rule(answers=st.booleans())
    def silence_the_store(self, answers: bool) -> None:
        self.cluster.store_answers = answers
        self.was_silent |= not answers

    @rule()
    def collect(self) -> None:
        self.cluster.collect()

    @rule(
        kinds=st.sets(st.sampled_from(CHILDREN)),
        reason=st.sampled_from([Reason.FORBIDDEN, Reason.APPLY_FAILED, Reason.NAME_CONFLICT]),
    )
    def hinder(self, kinds: set[Kind], reason: Reason) -> None:
        self.cluster.hindered = dict.fromkeys(kinds, reason)

    @rule()
    def toggle_service_monitors(self) -> None:
        self.cluster.has_service_monitors = not self.cluster.has_service_monitors
        if not self.cluster.has_service_monitors:
            for ref in [ref for ref in self.cluster.objects if ref.kind == SERVICE_MONITOR]:
                self.cluster.delete(ref)

    # The operator and its watches.

    @rule(kinds=st.sets(st.sampled_from(KINDS), max_size=4))
    def fall_behind(self, kinds: set[Kind]) -> None:
        self.lagging = kinds

    @rule(away=st.booleans())
    def restart(self, away: bool) -> None:
        self.operator = None if away else Operator(self.cluster)

    @rule(may_write=st.integers(0, 4), dies=st.booleans())
    def be_cut_off_in_the_middle(self, may_write: int, dies: bool) -> None:
        """The operator dies, or gives the turn up because the API server does not answer."""
        if self.operator is not None:
            self.hear()
            try:
                self.operator.turn(may_write)
            except KilledError:
                self.operator = None if dies else self.operator

    @rule()
    def restart_at_rest(self) -> None:
        """A restart writes nothing, asks no source and starts nothing."""
        self.operator = self.operator or Operator(self.cluster)
        self.lagging = set()
        self.rest()
        asked = self.operator.asked
        known = asked is None or asked.resolution.fingerprint or asked.resolution.failure
        # What only the store knows of a suspended model must be asked for again.
        shelf = self.operator.shelf
        if known and (shelf is None or shelf[1] == self.cluster.manifest(shelf[0])):
            before = self.resting
            self.operator = Operator(self.cluster)
            turn = self.operator.turn()
            assert (turn.writes, turn.status) == ([], before)

    @rule()
    def all_goes_well(self) -> None:
        """Whatever has happened: when nothing fails any more, the model gets Ready."""
        self.cluster.edit(suspend=False)
        self.mend_the_spec()
        self.cluster.hindered = {}
        self.lagging = set()
        self.operator = self.operator or Operator(self.cluster)
        for tick in range(TICKS_UNTIL_READY):
            turn = self.rest()
            if self.is_at_rest(turn):
                return
            uri = turn.model.spec.source.uri
            if isinstance(self.cluster.files[uri], Reason) or stage(turn) == "failed":
                self.cluster.files[uri] = f"good-{tick}"
            self.operator.poll()
            self.rest()
            self.cluster.pass_time(60)
            self.cluster.collect()
            self.cluster.control_jobs()
            self.cluster.end_prepare("ok")
            self.cluster.control_jobs()
            self.cluster.control_deployment()
            self.cluster.start_servers()
            self.cluster.report_deployment()
        raise AssertionError(f"not Ready though all is well: {turn.status.conditions}")

    def is_at_rest(self, turn: Turn) -> bool:
        assert self.operator is not None
        asked, answer = turn.observed.resolution, self.cluster.files[turn.model.spec.source.uri]
        current = asked.fingerprint is not None and asked.fingerprint.value == answer and asked.failure is None
        return current and find_condition(turn.status)["Ready"].status == "True"

    def teardown(self) -> None:
        self.all_goes_well()

    # What must hold.

    @invariant()
    def the_promises_hold(self) -> None:
        Machine.steps += 1
        if self.operator is not None:
            self.rest()

    def rest(self) -> Turn:
        """Let the operator take turns until it writes nothing, each of which must keep every promise."""
        assert self.operator is not None
        for _ in range(TURNS_UNTIL_REST):
            self.hear()
            objects = dict(self.cluster.objects)
            turn = self.operator.turn()
            self.check(turn, objects)
            if turn.held is not None:
                Machine.held += 1
                self.cluster.pass_time(turn.held)
            elif not turn.writes:
                self.check_rest(turn)
                self.resting = turn.status
                return turn
        raise AssertionError(f"never comes to rest: {turn.writes}")

    def hear(self) -> None:
        assert self.operator is not None
        for kind in KINDS:
            if kind not in self.lagging:
                self.operator.hear(kind)

    def check(self, turn: Turn, before: dict[Ref, Object]) -> None:
        """Hold one turn against the promises.

        Args:
            turn: what the operator saw, decided and said.
            before: the cluster as it was before the turn.
        """
        known = {ref: self.cluster.history[child.version] for ref, child in turn.observed.children.items()}
        servers = [self.cluster.history[pod.version] for pod in turn.observed.servers()]
        ready = [revision_of(pod) for pod in servers if is_ready(pod)]
        conditions = find_condition(turn.status)
        self.check_truth(turn, known, servers, ready, conditions)
        self.check_hindrances(turn, conditions)
        self.check_deployment(turn, before)
        self.check_jobs(turn, before)
        self.check_memory(turn, conditions)
        if turn.held is not None:
            before_now = find_condition(turn.model.status).get("Ready")
            assert before_now is None or before_now.status == "False", "what is no longer so is not left to stand"

    def check_truth(
        self,
        turn: Turn,
        known: dict[Ref, Object],
        servers: list[Object],
        ready: list[str],
        conditions: dict[str, Condition],
    ) -> None:
        status, spec = turn.status, turn.model.spec
        assert (conditions["Available"].status == "True") == bool(ready), "Available is whether a pod is ready"
        assert status.serving_revision in (ready or [""]), "servingRevision is what ready pods carry"
        assert status.ready_replicas == len(ready)
        assert status.observed_generation == turn.model.metadata.generation
        if conditions["Ready"].status == "True":
            Machine.said_ready += 1
            live = known[THE_DEPLOYMENT]
            wanted = live["spec"]["replicas"] if spec.serving.replicas is None else spec.serving.replicas
            assert turn.observed.revision, "Ready says that the wanted revision is known"
            assert revision_of(live) == turn.observed.revision == status.prepared_revision
            assert ready == [turn.observed.revision] * wanted, (
                "Ready says that all wanted replicas, and no others, serve"
            )
            cpu = live["spec"]["template"]["spec"]["containers"][0]["resources"].get("limits", {}).get("cpu")
            assert cpu == spec.serving.resources.limits.get("cpu"), "Ready says that the pods are as the spec asks"
            assert live["status"]["observedGeneration"] == live["metadata"]["generation"], "Ready is about this spec"
        prepared = conditions.get("ModelPrepared")
        if prepared is not None and prepared.status == "True":
            assert status.desired_revision in self.cluster.prepared, "ModelPrepared says that prepare has succeeded"
        watched = (
            spec.monitoring.service_monitor.enabled and THE_MONITOR in known and turn.observed.has_service_monitors
        )
        assert watched or conditions["MonitoringReady"].status == "False", "MonitoringReady is that there is one"
        combination = [conditions[name].status for name in ("Ready", "Reconciling", "Stalled")]
        if spec.suspend:
            assert combination[1:] == ["False", "False"], "a suspended model is at rest"
        else:
            assert combination.count("True") == 1, "one of Ready, Reconciling and Stalled, as kstatus reads them"

    def check_hindrances(self, turn: Turn, conditions: dict[str, Condition]) -> None:
        """What keeps the spec from being carried out is said, and nothing is done half."""
        if isinstance(turn.plan, SpecError):
            Machine.refused += 1
            Machine.outlived += turn.model.status.ready_replicas > turn.status.ready_replicas
            assert [write for write in turn.writes if write != "status"] == [], (
                "a spec that means nothing moves nothing"
            )
            assert (conditions["Ready"].status, conditions["Ready"].reason) == ("False", "SpecInvalid")
        Machine.hindered += bool(turn.problems)
        if THE_MONITOR in turn.problems:
            assert conditions["MonitoringReady"].status == "False", "what hinders a ServiceMonitor is said"
        reasons = {problem.reason for ref, problem in turn.problems.items() if ref != THE_MONITOR}
        ready = conditions["Ready"]
        assert not reasons or (ready.status == "False" and ready.reason in reasons), "what hinders a child is said"

    def check_deployment(self, turn: Turn, before: dict[Ref, Object]) -> None:
        old, new = before.get(THE_DEPLOYMENT), self.cluster.objects.get(THE_DEPLOYMENT)
        if new is not None and (old is None or revision_of(old) != revision_of(new)):
            assert revision_of(new) in self.cluster.prepared, "only what was prepared is deployed"
        if old is not None and stage(turn) != "done":
            assert new is not None
            assert images(new) == images(old), "what serves stays while the next is prepared"
            assert revision_of(new) == revision_of(old), "what serves stays while the next is prepared"
        if turn.model.spec.suspend:
            assert [write for write in turn.writes if write != "status"] == [], "a suspended model is left alone"

    def check_jobs(self, turn: Turn, before: dict[Ref, Object]) -> None:
        if stage(turn) == "done" and "status" in turn.writes and turn.observed.stored is not None:
            Machine.found_stored += 1
        ref = Ref(JOB, prepare_job_name(KEY.name, turn.observed.revision))
        if f"start {ref}" not in turn.writes:
            return
        assert turn.observed.revision, "no Job before the source has answered"
        if turn.model.status.prepared_revision == turn.observed.revision:
            assert turn.observed.revision in self.cluster.lost, "what is prepared is not prepared again"
        old = before.get(ref)
        if old is None and not self.was_silent and turn.observed.revision in self.cluster.bundles - self.cluster.lost:
            raise AssertionError("what is in the store needs no Job")
        if old is not None:
            assert is_ended(old), "a Job that runs is not replaced"
            uid = old["metadata"]["uid"]
            seen_end = any(pod.owner == uid for pod in turn.observed.pods)
            assert uid not in self.cluster.condemned or not seen_end, "what can only fail again is not tried again"

    def check_memory(self, turn: Turn, conditions: dict[str, Condition]) -> None:
        status, before = turn.status, turn.model.status
        for old in before.conditions:
            new = conditions[old.type]
            moved = new.last_transition_time != old.last_transition_time
            assert not moved or new.status != old.status, "a transition time moves with the status only"
        assert status.last_failure is not None or before.last_failure is None, "the last failure is kept"
        if status.prepared_revision:
            assert status.model == model_of(status.prepared_revision), "status.model is the prepared revision's"
        elif before.prepared_revision:
            raise AssertionError("what was prepared is not forgotten")
        revisions = [entry.revision for entry in status.history]
        assert len(revisions) <= 5
        assert all(a != b for a, b in pairwise(revisions)), "a revision is noted once"
        assert set(revisions) <= self.cluster.prepared

    def check_rest(self, turn: Turn) -> None:
        """A turn that wrote nothing: it is repeatable, and nothing that runs is unwanted."""
        assert self.operator is not None
        body = self.operator.world.model(KEY)
        assert body is not None
        model, readable = read(body)
        assert model.status == turn.status, "what was written is what was said"
        again = judge(model, turn.observed, readable)
        if isinstance(again, Plan):
            assert again == judge(model, turn.observed, readable), "a decision follows from what was observed"
        assert say(model, turn.observed, again, turn.problems) == turn.status, "a status written twice is the same"
        later = replace(turn.observed, now=turn.observed.now + timedelta(seconds=1))
        soon = say(model, later, judge(model, later, readable), turn.problems)
        if gist(soon) == gist(turn.status):
            assert soon == turn.status, "no time stamp moves alone"
        deployed = self.cluster.objects.get(THE_DEPLOYMENT)
        settled = not self.lagging and not turn.problems and stage(turn) == "done"
        if settled and deployed is not None and "deletionTimestamp" not in deployed["metadata"]:
            assert turn.status.prepared_revision == revision_of(deployed), "preparedRevision is what is deployed"
        if self.lagging or model.spec.suspend:
            return
        versions = {(ref, obj["metadata"]["resourceVersion"]) for ref, obj in self.cluster.objects.items()}
        known = {(ref, str(child.version)) for ref, child in turn.observed.children.items()}
        known |= {(Ref(POD, pod.name), str(pod.version)) for pod in turn.observed.pods}
        assert known == {each for each in versions if each[0] != THE_MODEL}, "what is known is what there is"
        if turn.problems or isinstance(turn.plan, SpecError):
            return
        jobs = [job for job in self.cluster.all(JOB) if "deletionTimestamp" not in job["metadata"]]
        running = {revision_of(job) for job in jobs if job["status"].get("active")}
        assert not turn.observed.revision or running <= {turn.observed.revision}, "no Job runs for nothing"


def stage(turn: Turn) -> str:
    return turn.plan.preparation.stage if isinstance(turn.plan, Plan) else ""


def find_condition(status: KerasModelStatus) -> dict[str, Condition]:
    return {condition.type: condition for condition in status.conditions}


def images(deployment: Object) -> list[str]:
    return [each["image"] for each in deployment["spec"]["template"]["spec"]["containers"]]


def gist(status: KerasModelStatus) -> Any:
    conditions = [(each.status, each.reason, each.message) for each in status.conditions]
    failure = status.last_failure
    return conditions, failure and (failure.step, failure.reason, failure.message, failure.revision)


def test_the_promises_hold_in_every_interleaving() -> None:
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
    assert Machine.steps >= STEPS
    assert Machine.said_ready >= STEPS / 10, "too few steps at which the model was served"
    assert Machine.found_stored >= STEPS / 100, "too few revisions that were found in the store"
    assert Machine.refused >= STEPS / 100, "too few specs that mean nothing"
    assert Machine.outlived >= 10, "too few pods that went under a spec that means nothing"
    assert Machine.hindered >= STEPS / 100, "too few writes that failed"
    assert Machine.held >= STEPS / 100, "too few statuses that were held back"
