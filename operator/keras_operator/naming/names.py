"""Names of a model's children."""

from __future__ import annotations

from keras_operator.kube.kinds import Key

PORT = 8080


def prepare_job_name(model: str, revision: str) -> str:
    """Name of the Job that prepares a revision."""
    return f"{model}-prepare-{revision}"


def service_url(key: Key) -> str:
    """Where a model answers inside the cluster."""
    return f"http://{key.name}.{key.namespace}.svc:{PORT}"
