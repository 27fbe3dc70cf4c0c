"""Names, addresses and hashes of a model's children."""

from __future__ import annotations

from keras_api.resource import KerasModel
from keras_operator.kube.drift import content_hash
from keras_operator.kube.kinds import Key

PORT = 8080


def job_name(model: str, task: str, revision: str) -> str:
    """Name of the Job that runs a task for a revision."""
    return f"{model}-{task}-{revision}"


def service_url(key: Key) -> str:
    """Address of a model inside the cluster."""
    return f"http://{key.name}.{key.namespace}.svc:{PORT}"


def serving_hash(model: KerasModel) -> str:
    """Hash of the part of the spec that defines the serving pods: template and resources."""
    serving = model.spec.serving
    return content_hash([serving.pod_template, serving.resources])
