"""The prepare task: fetch, prepare and put in one pod. The container that opens the model file has no credentials."""

from __future__ import annotations

from collections.abc import Iterable

from keras_api.manifest import ModelSummary
from keras_api.pod_part import PodPart
from keras_api.prepare_request import encode_request, prepare_request
from keras_api.reasons import ConditionType, Reason
from keras_api.resource import KerasModel
from keras_api.step_report import StepReport
from keras_operator.diagnosis.pods import containers, ended_badly, has_been_ready_since, last_end_time
from keras_operator.kube.kinds import JOB, Object
from keras_operator.naming.labels import ATTEMPT, MEMORY_FACTOR, MEMORY_MIB, labels
from keras_operator.naming.sizing import mebibytes, prepare_mib
from keras_operator.render.metadata import child_object
from keras_operator.render.pods import container, pod_spec, store_part
from keras_operator.state.observed import Observed
from keras_operator.tasks.base import Loss, Task, TaskInputs
from keras_store.redaction import public_url
from keras_store.sources.registry import source_parts
from keras_store.store_access import AUDIENCE

WORK = "/work"
CUSTOM_OBJECTS = "/custom-objects"

# Downloads and uploads are streamed: no file is in memory as a whole.
TRANSFER_REQUESTS: Object = {"cpu": "50m", "memory": "128Mi"}
TRANSFER_MIB = 512

_WORK = PodPart(mounts=({"name": "work", "mountPath": WORK},), volumes=({"name": "work", "emptyDir": {}},))


class PrepareTask(Task):
    """Turns a model file into a bundle in the store."""

    name = "prepare"
    condition = ConditionType.MODEL_PREPARED
    running = Reason.PREPARING
    succeeded = Reason.PREPARED
    failed = Reason.PREPARE_FAILED
    deadline_remedy = (
        "fix the cause or increase the chart value prepare.deadline, then delete the Job to let the operator retry"
    )
    memory_remedy = (
        "this was twice the usual memory: increase the chart value prepare.memory, then delete the Job to let the "
        "operator retry; spec.serving.runtime tensorflow needs less"
    )

    def job(self, inputs: TaskInputs) -> Object:
        """The Job that writes the desired revision's bundle."""
        model, settings, memory = inputs.model, inputs.settings, inputs.memory
        found = inputs.observed.resolution.fingerprint
        assert found is not None, "a revision is known only once the source has answered"
        name, revision = model.metadata.name, inputs.observed.revision
        request = encode_request(prepare_request(model, revision, found.value))
        least = mebibytes(settings.prepare_memory)
        mib = max(prepare_mib(found.size_bytes), memory.mib, least)
        converting = f"{memory.factor * mib}Mi"
        transfer = {
            "requests": TRANSFER_REQUESTS,
            "limits": {"memory": f"{memory.factor * max(TRANSFER_MIB, least)}Mi"},
        }
        source, code, store = _source_part(model), _code_part(model), store_part(settings, AUDIENCE)
        # fetch has access to the store, too: the bundle may be there already.
        fetch = container(
            "fetch",
            settings.server_image,
            [
                *_step("keras_store", "fetch", "--request", request, "--store", settings.store_url, "--work", WORK),
                *("--max-bytes", str(settings.max_source_size)),
            ],
            settings,
            _WORK + source + store,
            resources=transfer,
        )
        prepare = container(
            "prepare",
            settings.pipeline_image,
            _step("keras_pipeline", "prepare", "--request", request, "--work", WORK),
            settings,
            _WORK + code,
            resources={"requests": {"cpu": "250m", "memory": converting}, "limits": {"memory": converting}},
        )
        put = container(
            "put",
            settings.server_image,
            _step("keras_store", "put", "--request", request, "--store", settings.store_url, "--work", WORK),
            settings,
            _WORK + store,
            resources=transfer,
        )
        job = child_object(JOB, model, self.job_name(model, inputs.observed), self.name, revision)
        job["metadata"]["annotations"] = {
            ATTEMPT: str(inputs.attempt),
            MEMORY_MIB: str(mib),
            MEMORY_FACTOR: str(memory.factor),
        }
        job["spec"] = {
            # The operator decides about retries: it knows whether the same inputs can succeed.
            "backoffLimit": 0,
            "activeDeadlineSeconds": int(settings.prepare_deadline),
            # A disruption (a drained node, a preemption) is no failure of the model: Kubernetes creates another pod.
            "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
            "template": {
                "metadata": {"labels": labels(name, self.name, revision)},
                "spec": pod_spec(
                    name,
                    settings,
                    [_WORK, source, code, store],
                    restartPolicy="Never",
                    # No step has anything to save: an interrupted run is repeated.
                    terminationGracePeriodSeconds=5,
                    initContainers=[fetch, prepare],
                    containers=[put],
                ),
            },
        }
        return job

    def result(self, report: StepReport) -> ModelSummary | None:
        """The model that the step ``prepare`` describes."""
        return report.model

    def success_message(self, revision: str) -> str:
        """The desired revision is prepared."""
        return f"revision {revision} is in the store"

    def activity(self, model: KerasModel, container: str) -> str:
        """The activity of fetch, prepare or put."""
        return {
            "fetch": f"downloading {public_url(model.spec.source.uri)}",
            "prepare": "converting the model",
            "put": "uploading the bundle",
        }.get(container, "running")

    def known_result(self, model: KerasModel, observed: Observed) -> ModelSummary | None:
        """The model in status, if status is about the desired revision."""
        return model.status.model if model.status.prepared_revision == observed.revision else None

    def stored_result(self, observed: Observed) -> ModelSummary | None:
        """The model in the store's manifest."""
        return observed.stored

    def loss(self, observed: Observed) -> Loss | None:
        """The latest report of a serving pod that the bundle is missing, incomplete or altered."""
        losses = [
            Loss(last_end_time(container), cause.message)
            for pod in observed.servers()
            if pod.revision == observed.revision and not pod.deleting
            for container in containers(pod)
            if (cause := ended_badly(pod, container))
            and cause.reason == Reason.BUNDLE_INVALID
            # A container's status shows how its last run ended; a pod that was ready since then has its bundle.
            and not has_been_ready_since(pod, last_end_time(container))
        ]
        return max(losses, default=None)

    def usual_memory(self, container: str, reports: Iterable[StepReport]) -> tuple[int, str] | None:
        """The memory for the size that fetch reports, of the container that converts the model."""
        fetched = next((each.fetched_bytes for each in reports if each.fetched_bytes is not None), None)
        if fetched is None or container != "prepare":
            return None
        why = f"the operator retries once with the memory that a model file of {fetched} bytes usually needs"
        return prepare_mib(fetched), why


def _step(module: str, *arguments: str) -> list[str]:
    return ["python", "-m", module, *arguments]


def _source_part(model: KerasModel) -> PodPart:
    """Access to the model file and its validation data, by their schemes."""
    source, validation = model.spec.source, model.spec.validation
    uris = [source.uri, *([validation.data] if validation else [])]
    return source_parts(uris, source.secret_ref.name if source.secret_ref else None)


def _code_part(model: KerasModel) -> PodPart:
    """The code of the model's own classes."""
    custom_objects = model.spec.source.custom_objects
    if custom_objects is None:
        return PodPart()
    return PodPart(
        args=("--custom-objects", CUSTOM_OBJECTS),
        mounts=({"name": "custom-objects", "mountPath": CUSTOM_OBJECTS, "readOnly": True},),
        volumes=({"name": "custom-objects", "configMap": {"name": custom_objects.config_map_ref.name}},),
    )
