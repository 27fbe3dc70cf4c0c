"""The prepare Job: fetch, prepare and put in one pod; the one that opens the foreign file holds no credentials."""

from __future__ import annotations

from typing import Any, NamedTuple
from urllib.parse import urlsplit

from keras_api.prepare_request import encode_request, prepare_request
from keras_api.resource import KerasModel
from keras_operator.kube.kinds import JOB, Object
from keras_operator.naming.labels import ATTEMPT, MEMORY_FACTOR, MEMORY_MIB, child, labels
from keras_operator.naming.names import prepare_job_name
from keras_operator.naming.sizing import USUAL, Memory, mebibytes, prepare_mib
from keras_operator.render.pods import container, pod_spec, store_access, store_volumes
from keras_operator.settings import Settings
from keras_store.store_access import AUDIENCE

WORK = "/work"
VOLUMES = "/volumes"
CUSTOM_OBJECTS = "/custom-objects"

# Room for downloads and uploads streamed in parts; they hold no whole file.
TRANSFER_REQUESTS: Object = {"cpu": "50m", "memory": "128Mi"}
TRANSFER_MIB = 512


def prepare_job(
    model: KerasModel,
    revision: str,
    fingerprint: str,
    source_bytes: int | None,
    settings: Settings,
    *,
    attempt: int = 1,
    memory: Memory = USUAL,
) -> Object:
    """The Job that makes a revision's bundle.

    Args:
        model: the model.
        revision: the wanted revision.
        fingerprint: what identifies the source's content.
        source_bytes: size of the model file; None when unknown.
        settings: the operator's settings.
        attempt: counts from 1; the operator retries, not the Job.
        memory: what earlier attempts have taught about it.
    """
    name = model.metadata.name
    request = encode_request(prepare_request(model, revision, fingerprint))
    least = mebibytes(settings.prepare_memory)
    mib = max(prepare_mib(source_bytes), memory.mib, least)
    converting = f"{memory.factor * mib}Mi"
    transfer = {
        "requests": TRANSFER_REQUESTS,
        "limits": {"memory": f"{memory.factor * max(TRANSFER_MIB, least)}Mi"},
    }
    work = {"name": "work", "mountPath": WORK}
    claims = _claims(model)
    code = _custom_objects(model)

    fetch = container(
        "fetch",
        settings.server_image,
        [
            *_step("keras_store", "fetch", "--request", request, "--store", settings.store_url, "--work", WORK),
            *("--max-bytes", str(settings.max_source_size)),
        ],
        settings,
        resources=transfer,
        **_fetch_access(
            model,
            settings,
            [
                work,
                *(
                    {"name": volume, "mountPath": f"{VOLUMES}/{claim}", "readOnly": True}
                    for volume, claim in claims.items()
                ),
            ],
        ),
    )
    prepare = container(
        "prepare",
        settings.pipeline_image,
        _step("keras_pipeline", "prepare", "--request", request, "--work", WORK, *code.arguments),
        settings,
        resources={"requests": {"cpu": "250m", "memory": converting}, "limits": {"memory": converting}},
        volumeMounts=[work, *code.mounts],
    )
    access = store_access(settings)
    put = container(
        "put",
        settings.server_image,
        _step("keras_store", "put", "--request", request, "--store", settings.store_url, "--work", WORK),
        settings,
        resources=transfer,
        **{**access, "volumeMounts": [work, *access.get("volumeMounts", [])]},
    )
    job = child(JOB, model, prepare_job_name(name, revision), "prepare", revision)
    job["metadata"]["annotations"] = {
        ATTEMPT: str(attempt),
        MEMORY_MIB: str(mib),
        MEMORY_FACTOR: str(memory.factor),
    }
    job["spec"] = {
        # A failure is judged by the operator, which knows whether the same inputs can succeed.
        "backoffLimit": 0,
        "activeDeadlineSeconds": int(settings.prepare_deadline),
        # A drained or pre-empted pod says nothing about the model: Kubernetes makes another one.
        "podFailurePolicy": {"rules": [{"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}]},
        "template": {
            "metadata": {"labels": labels(name, "prepare", revision)},
            "spec": pod_spec(
                name,
                settings,
                restartPolicy="Never",
                # None of them has anything to save: a run that is ended is simply repeated.
                terminationGracePeriodSeconds=5,
                initContainers=[fetch, prepare],
                containers=[put],
                volumes=[
                    {"name": "work", "emptyDir": {}},
                    *(
                        {"name": volume, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
                        for volume, claim in claims.items()
                    ),
                    *code.volumes,
                    *store_volumes(settings, AUDIENCE),
                ],
            ),
        },
    }
    return job


def _step(module: str, *arguments: str) -> list[str]:
    return ["python", "-m", module, *arguments]


def _fetch_access(model: KerasModel, settings: Settings, mounts: list[Object]) -> dict[str, Any]:
    """fetch holds the source's credentials, and the store's to see whether the bundle is there already."""
    access = store_access(settings)
    secret = model.spec.source.secret_ref
    environment = [*([{"secretRef": {"name": secret.name}}] if secret else []), *access.get("envFrom", [])]
    return {
        **access,
        **({"envFrom": environment} if environment else {}),
        "volumeMounts": [*mounts, *access.get("volumeMounts", [])],
    }


class _Code(NamedTuple):
    """How the prepare container gets the code of the model's own classes."""

    arguments: tuple[str, ...] = ()
    mounts: tuple[Object, ...] = ()
    volumes: tuple[Object, ...] = ()


def _custom_objects(model: KerasModel) -> _Code:
    wanted = model.spec.source.custom_objects
    if wanted is None:
        return _Code()
    return _Code(
        ("--custom-objects", CUSTOM_OBJECTS),
        ({"name": "custom-objects", "mountPath": CUSTOM_OBJECTS, "readOnly": True},),
        ({"name": "custom-objects", "configMap": {"name": wanted.config_map_ref.name}},),
    )


def _claims(model: KerasModel) -> dict[str, str]:
    """Claims that the model and its validation data lie on, by the name of the volume."""
    validation = model.spec.validation
    addresses = [model.spec.source.uri, *([validation.data] if validation else [])]
    claims = sorted({urlsplit(uri).netloc for uri in addresses if uri.startswith("pvc://")})
    return {f"claim-{number}": claim for number, claim in enumerate(claims)}
