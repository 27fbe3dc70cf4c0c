"""The root cause of a pod's failure, from its status, its Events and its log."""

from __future__ import annotations

import json

import pytest
from operator_makers import CHILD_KINDS, KEY, NOW, ago, ended, failure, pod, ready_pod

from keras_api.log_events import LogEvent
from keras_api.reasons import Reason
from keras_operator.cache.cache import Cache
from keras_operator.cache.objects import Pod
from keras_operator.diagnosis.pods import (
    LogLine,
    cause_from_event,
    cause_of,
    is_informative,
    parse_log_line,
    readiness_timeout_at,
    startup_timeout_at,
)
from keras_operator.kube.evidence import LOG, Evidence
from keras_operator.kube.kinds import POD, Object


def observed(obj: Object) -> Pod:
    cache = Cache(CHILD_KINDS)
    cache.update(POD, obj)
    return cache.pods(KEY)[0]


def _container(name: str = "server", **more: object) -> Object:
    return {"name": name, "ready": False, **more}


def _waiting(reason: str, message: str = "why", **more: object) -> Object:
    return _container(state={"waiting": {"reason": reason, "message": message}}, **more)


def _started(since: float) -> Object:
    return {"running": {"startedAt": ago(since)}}


def _running(since: float) -> Object:
    return {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": ago(since + 5)}],
        "containerStatuses": [_container(state=_started(since))],
    }


INIT_ENDED = {"terminated": {"exitCode": 0, "finishedAt": ago(20)}}

CASES: dict[str, tuple[Object, Reason | None, str]] = {
    "just created": ({}, None, ""),
    "pulling": ({"containerStatuses": [_waiting("ContainerCreating")]}, None, ""),
    "no image": (
        {"containerStatuses": [_waiting("ErrImagePull", "rpc error: code = NotFound desc = x:1: not found")]},
        Reason.IMAGE_PULL_FAILED,
        "container server of pod pod-a: x:1: not found: check the image's name and its pull secret",
    ),
    "still no image": (
        {
            "containerStatuses": [
                _waiting("ImagePullBackOff", 'Back-off pulling image "x:1": ErrImagePull: x:1: not found'),
            ]
        },
        Reason.IMAGE_PULL_FAILED,
        "container server of pod pod-a: x:1: not found: check the image's name and its pull secret",
    ),
    "bad image name": ({"containerStatuses": [_waiting("InvalidImageName")]}, Reason.IMAGE_PULL_FAILED, "why"),
    "no secret": (
        {"containerStatuses": [_waiting("CreateContainerConfigError", 'secret "reader" not found')]},
        Reason.SECRET_NOT_FOUND,
        "reader",
    ),
    "other configuration": (
        {"containerStatuses": [_waiting("CreateContainerConfigError", 'configmap "c" not found')]},
        Reason.NOT_READY,
        'configmap "c"',
    ),
    "crash": (
        {"containerStatuses": [_waiting("CrashLoopBackOff", lastState=ended(3, "golden outputs differ"))]},
        Reason.CRASH_LOOP,
        "exited with 3: golden outputs differ",
    ),
    "killed for memory": (
        {"containerStatuses": [_waiting("CrashLoopBackOff", lastState=ended(137, reason="OOMKilled"))]},
        Reason.OUT_OF_MEMORY,
        "memory limit: increase spec.serving.resources.limits.memory",
    ),
    "bundle unavailable": (
        {"containerStatuses": [_waiting("CrashLoopBackOff", lastState=failure("r", Reason.STORE_UNAVAILABLE))]},
        Reason.STORE_UNAVAILABLE,
        "because",
    ),
    "running again after a crash": (
        {"phase": "Running", "containerStatuses": [_container(state={"running": {}}, lastState=ended(3))]},
        None,
        "",
    ),
    "succeeded after a crash": (
        {
            "phase": "Pending",
            "initContainerStatuses": [_container("theirs", state=ended(0), lastState=ended(1, "no luck"))],
        },
        None,
        "",
    ),
    "unschedulable": (
        {
            "conditions": [
                {
                    "type": "PodScheduled",
                    "status": "False",
                    "message": "0/3 nodes are available: 3 Insufficient cpu. no new claims to deallocate, "
                    "preemption: 0/3 nodes are available: 3 No preemption victims found.",
                }
            ]
        },
        Reason.UNSCHEDULABLE,
        "3 Insufficient cpu: add or free a node, or lower the requests in spec.serving",
    ),
    "evicted": (
        {
            "phase": "Failed",
            "reason": "Evicted",
            "message": "The node was low on resource: memory. ",
            "containerStatuses": [_container(state=ended(137))],
        },
        Reason.EVICTED,
        "pod pod-a was evicted: The node was low on resource: memory: free resources on the node",
    ),
    "warming up": (_running(10), None, ""),
    "an init container that runs": (
        {"initContainerStatuses": [_container("theirs", state=_started(110))]},
        None,
        "",
    ),
    "an init container that runs too long": (
        {"initContainerStatuses": [_container("theirs", state=_started(121))]},
        Reason.NOT_READY,
        "container theirs of pod pod-a has been running for more than 120 s",
    ),
    "not ready for too long": (
        _running(31),
        Reason.NOT_READY,
        "container server of pod pod-a has been running for more than 30 s",
    ),
}


@pytest.mark.parametrize(("status", "reason", "words"), CASES.values(), ids=CASES)
def test_a_cause_is_read_from_the_status(status: Object, reason: Reason | None, words: str) -> None:
    cause = cause_of(observed(pod("server", "r", **status)), NOW)
    assert (cause and cause.reason) == reason
    assert cause is None or words in cause.message


def test_a_ready_pod_has_no_failure_whatever_its_history() -> None:
    restarted = ready_pod("r")
    restarted["status"]["containerStatuses"] = [_waiting("CrashLoopBackOff", lastState=ended(1))]
    assert cause_of(observed(restarted), NOW) is None


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (Evidence("FailedMount", 'secret "x" not found'), Reason.VOLUME_UNAVAILABLE),
        (Evidence("FailedCreatePodSandBox", "no address left"), Reason.NOT_READY),
        (Evidence("FailedCreate", "exceeded quota"), Reason.POD_REFUSED),
        (Evidence("Failed", 'Error: secret "reader" not found', "server"), Reason.SECRET_NOT_FOUND),
    ],
)
def test_an_event_explains_a_pod_whose_status_does_not(evidence: Evidence, reason: Reason) -> None:
    cause = cause_of(observed(pod("server", "r")), NOW, evidence)
    assert cause is not None
    assert (cause.reason, evidence.message.removeprefix("Error: ") in cause.message) == (reason, True)


@pytest.mark.parametrize(
    ("event", "waiting"),
    [
        (
            'Failed to pull image "x:1": rpc error: code = NotFound desc = x:1: not found',
            ("ErrImagePull", "x:1: not found"),
        ),
        ('Error: secret "reader" not found', ("CreateContainerConfigError", 'secret "reader" not found')),
    ],
)
def test_an_event_gives_the_same_cause_as_the_later_status(event: str, waiting: tuple[str, str]) -> None:
    early = cause_of(observed(pod("server", "r")), NOW, Evidence("Failed", event, "server"))
    late = cause_of(observed(pod("server", "r", containerStatuses=[_waiting(*waiting)])), NOW)
    assert early == late


@pytest.mark.parametrize(
    ("event", "informative"),
    [
        (Evidence("Failed", 'Failed to pull image "x:1": not found', "server"), True),
        (Evidence("Failed", "Error: ErrImagePull", "server"), False),
        (Evidence("FailedScheduling", "0/1 nodes are available"), False),
    ],
)
def test_uninformative_events_are_ignored(event: Evidence, informative: bool) -> None:
    assert is_informative(event) is informative


@pytest.mark.parametrize("attempt", ["x7k2p", "bbd9w"])
@pytest.mark.parametrize("prefix", ["", "(combined from similar events): "])
def test_a_repeated_rejection_always_has_the_same_message(prefix: str, attempt: str) -> None:
    evidence = Evidence(
        "FailedCreate", f'{prefix}Error creating: pods "digits-5f7-{attempt}" is forbidden: exceeded quota: q'
    )
    message = cause_from_event("digits-5f7", evidence).message
    assert message.startswith('digits-5f7: pods "digits-5f7-*" is forbidden: exceeded quota: q: change')


def test_the_startup_timeout_begins_when_the_pod_is_scheduled() -> None:
    scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": ago(2)}
    found = startup_timeout_at(observed(pod("server", "r", conditions=[scheduled])))
    assert found is not None
    assert found > NOW


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("the GPU is not there", "its last log line: the GPU is not there; see `kubectl logs pod-a -c server`"),
        (
            '{"level":"error","message":"never ready: golden outputs differ"}',
            "its last log line: never ready: golden outputs differ;",
        ),
    ],
)
def test_a_server_that_does_not_become_ready_is_reported_with_its_last_log_line(line: str, words: str) -> None:
    cause = cause_of(observed(pod("server", "r", **_running(31))), NOW, Evidence(LOG, line))
    assert cause is not None
    assert words in cause.message


# As keras_api.logs writes them; only the fields count, not the texts.
DOWNLOAD = json.dumps({"level": "info", "message": "any text", "event": LogEvent.BUNDLE_DOWNLOAD})
RETRY = json.dumps(
    {
        "level": "warning",
        "message": "any text",
        "event": LogEvent.BUNDLE_DOWNLOAD_RETRY,
        "cause": "http://store: no answer in time (no data for 25 s)",
    }
)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (31, None),
        (119, None),
        (
            121,
            "has been running for more than 120 s and is not ready; its last log line: any text",
        ),
    ],
)
def test_a_server_has_more_time_while_it_downloads_its_bundle(seconds: float, words: str | None) -> None:
    cause = cause_of(observed(pod("server", "r", **_running(seconds))), NOW, Evidence(LOG, DOWNLOAD))
    assert (cause is None) if words is None else (cause is not None and words in cause.message)


def test_a_store_that_does_not_answer_is_reported_before_the_server_gives_up() -> None:
    cause = cause_of(observed(pod("server", "r", **_running(31))), NOW, Evidence(LOG, RETRY))
    assert cause is not None
    assert cause.reason is Reason.STORE_UNAVAILABLE
    assert cause.message == (
        "container server of pod pod-a cannot download its bundle: "
        "http://store: no answer in time (no data for 25 s): "
        "check that the store is running and reachable; running servers are not affected"
    )


@pytest.mark.parametrize(
    ("seconds", "line", "reason"),
    [
        (5, None, Reason.STORE_UNAVAILABLE),
        (31, RETRY, Reason.STORE_UNAVAILABLE),
        (31, DOWNLOAD, Reason.STORE_UNAVAILABLE),
        (31, "warm-up failed", Reason.NOT_READY),
    ],
    ids=["starts again", "no answer again", "no answer yet", "has its bundle"],
)
def test_store_unavailable_is_reported_until_the_store_has_answered(
    seconds: float, line: str | None, reason: Reason
) -> None:
    status = _running(seconds)
    status["containerStatuses"][0]["lastState"] = _ended_ago(seconds + 5, Reason.STORE_UNAVAILABLE)
    status["conditions"][0]["lastTransitionTime"] = ago(seconds + 10)
    cause = cause_of(observed(pod("server", "r", **status)), NOW, line and Evidence(LOG, line))
    assert cause is not None
    assert cause.reason is reason


def test_store_unavailable_is_not_reported_after_the_server_was_ready() -> None:
    status = _running(5)
    status["containerStatuses"][0]["lastState"] = _ended_ago(60, Reason.STORE_UNAVAILABLE)
    assert cause_of(observed(pod("server", "r", **status)), NOW) is None


def test_a_crash_is_not_reported_while_the_server_runs_again() -> None:
    status = _running(5)
    status["containerStatuses"][0]["lastState"] = _ended_ago(60, Reason.CRASH_LOOP)
    status["conditions"][0]["lastTransitionTime"] = ago(100)
    assert cause_of(observed(pod("server", "r", **status)), NOW) is None


def _ended_ago(seconds: float, reason: Reason) -> Object:
    end = failure("r", reason)
    end["terminated"]["finishedAt"] = ago(seconds)
    return end


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("plain text", LogLine("plain text")),
        ('{"message": "m", "event": "e", "cause": "c", "port": 1}', LogLine("m", "e", "c")),
        ('{"message": "m", "event": 1}', LogLine("m")),
        ('{"event": "e"}', LogLine('{"event": "e"}')),
        ("[1]", LogLine("[1]")),
        ('"downloading the bundle"', LogLine('"downloading the bundle"')),
    ],
)
def test_a_log_line_in_json_has_fields(text: str, line: LogLine) -> None:
    assert parse_log_line(text) == line


def test_a_long_log_line_is_cut() -> None:
    assert [len(field) for field in parse_log_line("x" * 10_000)] == [300, 0, 0]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, True),
        ({"containerStatuses": [_waiting("ContainerCreating")]}, True),
        ({"containerStatuses": [_waiting("ImagePullBackOff")]}, False),
        ({"initContainerStatuses": [_container(state={"running": {}})]}, False),
        ({"initContainerStatuses": [_container("theirs", state=INIT_ENDED)]}, True),
        ({"phase": "Running"}, False),
    ],
)
def test_only_a_pod_that_is_stuck_without_a_cause_has_a_startup_timeout(status: Object, expected: bool) -> None:
    assert (startup_timeout_at(observed(pod("server", "r", **status))) is not None) is expected


@pytest.mark.parametrize(
    ("status", "container"),
    [
        (_running(1), "server"),
        ({"phase": "Pending", "initContainerStatuses": [_container("theirs", state=_started(1))]}, "theirs"),
        ({**_running(1), "containerStatuses": [_waiting("CrashLoopBackOff")]}, None),
    ],
)
def test_only_a_running_container_of_a_server_has_a_readiness_timeout(status: Object, container: str | None) -> None:
    unready = readiness_timeout_at(observed(pod("server", "r", **status)))
    assert (unready and unready[1]) == container
