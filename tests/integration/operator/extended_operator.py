"""The operator with an additional child kind, task and source scheme."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_api.logs import set_up
from keras_api.pod_part import PodPart
from keras_api.reasons import Reason
from keras_api.step_report import StepReport
from keras_operator.__main__ import run
from keras_operator.components import COMPONENTS
from keras_operator.components.base import Component, Context
from keras_operator.kube.kinds import JOB, ChildKind, Kind, Object, Ref
from keras_operator.naming.labels import labels
from keras_operator.render.metadata import child_object
from keras_operator.render.pods import container, pod_spec
from keras_operator.settings import read_settings
from keras_operator.state.conditions import ConditionUpdate
from keras_operator.tasks import TASKS
from keras_operator.tasks.base import Task, TaskInputs
from keras_store.sources import registry
from keras_store.sources.base import Access, Address, Scheme, SourceFile
from keras_store.storage.folder import FolderStorage

AUTOSCALER = Kind("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
DISKS = Path(os.environ.get("DISKS", "/disks"))


class AutoscalerComponent(Component):
    """A HorizontalPodAutoscaler for models without a fixed number of replicas."""

    child = ChildKind(AUTOSCALER, deletable=True)
    wave = 2
    required = False

    def desired(self, context: Context) -> Iterator[Object]:
        model = context.model
        if model.spec.serving.replicas is None and context.prepared is not None:
            target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": model.metadata.name}
            yield {
                **child_object(AUTOSCALER, model, model.metadata.name),
                "spec": {"minReplicas": 1, "maxReplicas": 3, "scaleTargetRef": target},
            }

    def obsolete(self, context: Context) -> Iterator[Ref]:
        if context.model.spec.serving.replicas is not None:
            yield from self.owned(context)

    def conditions(self, context: Context) -> Iterator[ConditionUpdate]:
        exists = any(True for _ in self.owned(context))
        message = "is applied" if exists else "does not exist"
        yield ConditionUpdate("AutoscalerReady", exists, Reason.SERVING if exists else Reason.PROGRESSING, message)


class InspectTask(Task):
    """A task before prepare, whose result is a number of lines."""

    name = "inspect"
    condition = "Inspected"
    running = Reason.PREPARING
    succeeded = Reason.PREPARED
    failed = Reason.PREPARE_FAILED
    deadline_remedy = "increase the deadline"
    memory_remedy = "increase the memory"

    def job(self, inputs: TaskInputs) -> Object:
        model, revision = inputs.model, inputs.observed.revision
        job = child_object(JOB, model, self.job_name(model, inputs.observed), self.name, revision)
        work = container("inspect", inputs.settings.server_image, ["inspect"], inputs.settings, PodPart())
        job["spec"] = {
            "backoffLimit": 0,
            "template": {
                "metadata": {"labels": labels(model.metadata.name, self.name, revision)},
                "spec": pod_spec(model.metadata.name, inputs.settings, [], restartPolicy="Never", containers=[work]),
            },
        }
        return job

    def result(self, report: StepReport) -> Any:
        return report.result

    def success_message(self, revision: str) -> str:
        return f"revision {revision} is inspected"


def _open(address: Address, access: Access) -> SourceFile:
    return SourceFile(FolderStorage(DISKS / address.host, name=f"disk://{address.host}"), address.path)


def _disks(names: Sequence[str]) -> PodPart:
    return PodPart(
        mounts=tuple({"name": f"disk-{name}", "mountPath": f"/disks/{name}"} for name in names),
        volumes=tuple({"name": f"disk-{name}", "emptyDir": {}} for name in names),
    )


DISK = Scheme(pattern="disk", forms=("disk://name/path",), open=_open, pod_part=_disks)


def main() -> None:
    registry.SCHEMES = (*registry.SCHEMES, DISK)
    settings = read_settings(os.environ)
    set_up(level=settings.log_level, style=settings.log_format)
    asyncio.run(run(settings, (*COMPONENTS, AutoscalerComponent()), (InspectTask(), *TASKS)))


if __name__ == "__main__":
    main()
