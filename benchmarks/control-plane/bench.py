"""The cost of the control plane: writes, time and memory with up to 2,000 models on a real API server.

etcd and kube-apiserver are real. One process (stand_in.py) replaces controllers, kubelets and sources. Every round of a
comparison uses a new API server, and the two sides alternate.
"""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from row import Row

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from audit import Write, by_model, by_resource  # noqa: E402
from bare import UID  # noqa: E402
from client import MODELS  # noqa: E402
from processes import Process  # noqa: E402
from stage import Operator, Stage, name_of  # noqa: E402

# For trial runs: SCALE=0.1 uses a tenth of the models and of the time in steady state.
SCALE = float(os.environ.get("SCALE", "1"))
FEW, MANY, MOST = (max(10, round(SCALE * count)) for count in (200, 1_000, 2_000))
STEADY_SECONDS = 600 * SCALE
ROUNDS = 2
CHANGES = 100
CHILDREN = 5
STATUS_PATCHES = 4
# The number of concurrent requests of the operator.
CONCURRENCY = 16

_begun = time.monotonic()


def measure() -> list[Row]:
    """All rows, in the order of the table."""
    return asyncio.run(_measure())


async def _measure() -> list[Row]:
    ours: list[float] = []
    bare: list[float] = []
    writes: dict[str, list[Write]] = {}
    for number in range(ROUNDS):
        async with Stage() as stage:
            seconds = await created_at_once(stage, MANY)
            writes = dict(by_model(stage.audit.writes()))
        ours.append(seconds)
        say(f"{MANY} models at once, round {number + 1}: {seconds:.1f} s")
        async with Stage() as stage:
            seconds = await written_bare(stage, writes)
        bare.append(seconds)
        say(f"the same writes by the bare script, round {number + 1}: {seconds:.1f} s")
    few = []
    for number in range(ROUNDS + 1):
        async with Stage() as stage:
            few.append(await created_at_once(stage, FEW))
        say(f"{FEW} models at once, round {number + 1}: {few[-1]:.1f} s")
    async with Stage() as stage:
        most = await created_at_once(stage, MOST)
        say(f"{MOST} models at once: {most:.1f} s")
        restarts = await restarted(stage)
        operator = stage.operator()
        async with operator:
            await operator.wait_until_reconciled(MOST)
            latencies = await changed(stage)
            steady = await steady_state(stage, operator)
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    growth = [most / MOST / (each / FEW) for each in few]
    return [
        *writes_per_model(writes),
        Row(f"{MANY} models at once / the same writes by a bare script", statistics.median(ratios), 1.3, "x", ratios),
        Row(f"{MANY} models at once", statistics.median(ours), None, "s", ours),
        Row("the same writes by a bare script", statistics.median(bare), None, "s", bare),
        Row(f"time per model, {MOST} at once / {FEW} at once", statistics.median(growth), 1.2, "x", growth),
        *restarts,
        Row(f"one change among {MOST}: child patched, p99", percentile(latencies, 0.99), 0.15, "s", sorted(latencies)),
        Row(f"one change among {MOST}: child patched, p50", percentile(latencies, 0.5), None, "s", []),
        *steady,
    ]


async def created_at_once(stage: Stage, count: int) -> float:
    """Seconds until `count` models are Ready that are created as fast as the API server accepts them."""
    async with stage.operator() as operator:
        await operator.wait_until_ready()
        begin = time.perf_counter()
        await stage.create(range(count))
        await stage.deployed(count)
        await operator.wait_until_served(count)
        return time.perf_counter() - begin


async def written_bare(stage: Stage, writes: Mapping[str, list[Write]]) -> float:
    """Seconds that a bare script needs for the same models and writes, including the stand-in's part."""
    file = stage.folder / "writes.json"
    file.write_text(json.dumps([script(stage, name, each) for name, each in sorted(writes.items())]))
    environment = {"KUBECONFIG": str(stage.kubeconfig)}
    arguments = [HERE / "bare.py", file, str(CONCURRENCY)]
    async with Process(arguments, stage.folder / "bare.log", environment) as process:
        await process.line()
        begin = time.perf_counter()
        process.say("begin")
        await process.line()
        await stage.deployed(len(writes))
        return time.perf_counter() - begin


def script(stage: Stage, name: str, writes: list[Write]) -> list[tuple[str, str, str, str]]:
    """A model's creation and the operator's writes for it, with a placeholder for the uid of the old API server."""
    create = ("POST", MODELS, "application/json", json.dumps(stage.model(int(name.removeprefix("model-")))))
    uid = next(
        owner["uid"]
        for write in writes
        if write.resource == "serviceaccounts"
        for owner in write.body["metadata"]["ownerReferences"]
    )
    rest = [(each.method, each.uri, each.content, json.dumps(each.body).replace(uid, UID)) for each in writes]
    return [create, *rest]


def writes_per_model(writes: Mapping[str, list[Write]]) -> list[Row]:
    """The writes of the model with the most writes, and their resources."""
    most = max(writes.values(), key=len)
    statuses = [float(by_resource(each)["kerasmodels/status"]) for each in writes.values()]
    events = [float(by_resource(each)["events"]) for each in writes.values()]
    target = CHILDREN + STATUS_PATCHES
    return [
        Row(f"API writes for a new model with {CHILDREN} children, at most", len(most), target, "", []),
        Row("status patches among them, at most", max(statuses), STATUS_PATCHES, "", []),
        Row("Events among them, at most", max(events), None, "", []),
    ]


async def restarted(stage: Stage) -> list[Row]:
    """The startup of an operator that finds all models in their desired state."""
    seconds, memory, writes = [], [], []
    for number in range(ROUNDS + 1):
        stage.audit.writes()
        begin = time.perf_counter()
        async with stage.operator() as operator:
            await operator.wait_until_reconciled(MOST)
            seconds.append(time.perf_counter() - begin)
            # The operator lists once more soon after its start, which counts for the memory.
            await asyncio.sleep(10)
            memory.append(operator.resident_mb())
        writes.append(float(len(stage.audit.writes())))
        say(f"restart {number + 1}: {seconds[-1]:.1f} s, {memory[-1]:.0f} MB, {writes[-1]:.0f} writes")
    return [
        Row(f"restart with {MOST} models: all reconciled", statistics.median(seconds), 15, "s", seconds),
        Row(f"restart with {MOST} models: writes", max(writes), 0, "", writes),
        Row(f"restart with {MOST} models: maximum RSS", max(memory), 200, "MB", memory),
    ]


async def changed(stage: Stage) -> list[float]:
    """Seconds from a change of a model's spec until a watch delivers the patched Deployment."""
    arrived: asyncio.Queue[tuple[str, str, float]] = asyncio.Queue()
    watch = asyncio.create_task(stage.changes(arrived))
    found = []
    try:
        for turn in range(CHANGES):
            number = turn * MOST // CHANGES
            begin = time.perf_counter()
            await stage.annotate_pods(number, str(turn))
            async with asyncio.timeout(60):
                while True:
                    name, value, at = await arrived.get()
                    if (name, value) == (name_of(number), str(turn)):
                        break
            found.append(at - begin)
            await stage.deployed(1)
    finally:
        watch.cancel()
    say(f"{CHANGES} changes: p99 {percentile(found, 0.99):.3f} s")
    return found


async def steady_state(stage: Stage, operator: Operator) -> list[Row]:
    """Writes and processor time of the operator while nothing changes for ten minutes."""
    await operator.wait_until_served(MOST)
    await asyncio.sleep(5)  # the status of the last model is patched after its Deployment is ready
    stage.audit.writes()
    before = operator.cpu_seconds()
    begin = time.monotonic()
    while (left := STEADY_SECONDS - (time.monotonic() - begin)) > 0:
        await asyncio.sleep(min(left, 60))
        say(f"in steady state for {time.monotonic() - begin:.0f} s")
    writes = by_resource(stage.audit.writes())
    say(f"writes in steady state: {dict(writes)}")
    load = 100 * (operator.cpu_seconds() - before) / STEADY_SECONDS
    what = f"{STEADY_SECONDS / 60:.0f} min in steady state with {MOST} models"
    return [
        Row(f"{what}: writes", writes.total(), 0, "", []),
        Row(f"{what}: the operator's share of a core", load, None, "%", []),
    ]


def percentile(values: list[float], share: float) -> float:
    """The value that this share of the values does not exceed."""
    return sorted(values)[min(len(values) - 1, round(share * len(values)) - 1)]


def say(text: str) -> None:
    """Print the progress."""
    elapsed = time.monotonic() - _begun
    print(f"[{elapsed // 60:2.0f}:{elapsed % 60:02.0f}] {text}", flush=True)
