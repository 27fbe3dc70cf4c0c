"""Replaces controllers, kubelets and the source of the models: completes Jobs and makes the pods of Deployments ready.

    python stand_in.py KUBECONFIG

Prints the URL of the source, and then the name of every Deployment that becomes ready.
"""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web
from client import CONNECTIONS, DEPLOYMENTS, JOBS, PODS, Client, Object

from keras_api.manifest import ModelSummary, Parity, Tensor
from keras_api.step_report import StepReport, encode_report

SELECTOR = "app.kubernetes.io/managed-by=keras-operator"


class StandIn:
    """Sends the minimum of requests that a cluster would send for each Job and each Deployment."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._slots = asyncio.Semaphore(CONNECTIONS)
        self._finished: set[str] = set()
        self._pods: set[str] = set()
        self._seen: dict[str, int] = {}

    async def finish_jobs(self) -> None:
        """Complete every Job, forever."""
        async with asyncio.TaskGroup() as tasks:
            async for event in self._client.watch(JOBS, SELECTOR):
                job = event["object"]
                name = job["metadata"]["name"]
                if event["type"] != "DELETED" and name not in self._finished:
                    self._finished.add(name)
                    tasks.create_task(self._finish(job))

    async def finish_deployments(self) -> None:
        """Make a pod of every Deployment ready, forever."""
        async with asyncio.TaskGroup() as tasks:
            async for event in self._client.watch(DEPLOYMENTS, SELECTOR):
                deployment = event["object"]
                name, generation = deployment["metadata"]["name"], deployment["metadata"]["generation"]
                if event["type"] != "DELETED" and self._seen.get(name, 0) < generation:
                    self._seen[name] = generation
                    tasks.create_task(self._roll_out(deployment))

    async def _finish(self, job: Object) -> None:
        metadata, now = job["metadata"], _now()
        revision = metadata["labels"]["keras-operator.dev/revision"]
        report = encode_report(StepReport(step="prepare", revision=revision, model=SUMMARY)).decode()
        async with self._slots:
            name = await self._create_pod(job)
            statuses = [_ended("fetch"), _ended("prepare", report)]
            status: Object = {"phase": "Succeeded", "initContainerStatuses": statuses}
            status["containerStatuses"] = [_ended("put")]
            await self._client.merge(f"{PODS}/{name}/status", {"status": status})
            conditions = [
                {"type": kind, "status": "True", "lastTransitionTime": now, "lastProbeTime": now}
                for kind in ("SuccessCriteriaMet", "Complete")
            ]
            status = {"startTime": now, "completionTime": now, "succeeded": 1, "conditions": conditions}
            await self._client.merge(f"{JOBS}/{metadata['name']}/status", {"status": status})

    async def _roll_out(self, deployment: Object) -> None:
        metadata, now = deployment["metadata"], _now()
        async with self._slots:
            if metadata["name"] not in self._pods:
                self._pods.add(metadata["name"])
                name = await self._create_pod(deployment)
                condition = {"type": "Ready", "status": "True", "lastTransitionTime": now}
                container = {"name": "server", "state": {"running": {"startedAt": now}}, "ready": True, **_COMMON}
                status = {"phase": "Running", "conditions": [condition], "containerStatuses": [container]}
                await self._client.merge(f"{PODS}/{name}/status", {"status": status})
            conditions = [
                {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable"},
                {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"},
            ]
            counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
            status = {"observedGeneration": metadata["generation"], **counts, "conditions": conditions}
            await self._client.merge(f"{DEPLOYMENTS}/{metadata['name']}/status", {"status": status})
        print(metadata["name"], flush=True)

    async def _create_pod(self, owner: Object) -> str:
        """Create the pod of a Job or Deployment; returns its name."""
        metadata, template = owner["metadata"], owner["spec"]["template"]
        reference = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "controller": True}
        name = f"{metadata['name']}-0"
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": name,
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"].get("annotations", {}),
                "ownerReferences": [{**reference, "name": metadata["name"], "uid": metadata["uid"]}],
            },
            "spec": template["spec"],
        }
        await self._client.create(PODS, pod)
        return name


SUMMARY = ModelSummary(
    digest="sha256:" + "ab" * 32,
    size_bytes=100_000,
    keras_version="3.15.1",
    parameters=20_000,
    inputs=[Tensor(name="image", dtype="float32", shape=[-1, 8, 8, 1])],
    outputs=[Tensor(name="digit", dtype="float32", shape=[-1, 10])],
    runtime="onnxruntime",
    parity=Parity(max_abs_error="1e-7", agreement="1", rows=100),
    metrics={"accuracy": "0.97"},
)

_COMMON = {"restartCount": 0, "image": "i", "imageID": "i"}


def _ended(name: str, message: str = "") -> Object:
    now = _now()
    ended = {"exitCode": 0, "reason": "Completed", "message": message, "startedAt": now, "finishedAt": now}
    return {"name": name, "state": {"terminated": ended}, "ready": True, **_COMMON}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


async def answer(_: web.Request) -> web.Response:
    """The response of the source, which has the same file at every path."""
    return web.Response(headers={"ETag": '"1"', "Content-Length": "100000"})


async def main(kubeconfig: Path) -> None:
    """Run until the process is terminated."""
    source = web.Application()
    source.router.add_route("HEAD", "/{path:.*}", answer)
    runner = web.AppRunner(source, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(f"http://127.0.0.1:{runner.addresses[0][1]}", flush=True)
    async with Client(kubeconfig) as client, asyncio.TaskGroup() as tasks:
        stand_in = StandIn(client)
        tasks.create_task(stand_in.finish_jobs())
        tasks.create_task(stand_in.finish_deployments())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
