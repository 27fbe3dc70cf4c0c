"""What all pods of the operator have in common: identity, hardening, and the way to the store."""

from __future__ import annotations

from typing import Any

from keras_operator.kube.kinds import Object
from keras_operator.settings import Settings

USER = 65532
"""The unprivileged user of our images."""

STORE_TOKEN_FOLDER = "/var/run/secrets/keras-operator.dev/store"  # noqa: S105 - a folder's name
STORE_TOKEN_SECONDS = 3600


def container(name: str, image: str, command: list[str], settings: Settings, **more: Any) -> Object:
    """A container that may change nothing but its volumes.

    Args:
        name: its name.
        image: its image.
        command: program and arguments, taken literally.
        settings: the operator's settings.
        more: further fields; ``volumeMounts`` and ``env`` are added to what every container has.
    """
    # Libraries that keep files in the home folder find it on the read-only root otherwise.
    env = [{"name": "HOME", "value": "/tmp"}, *more.pop("env", [])]  # noqa: S108 - an emptyDir
    mounts = [{"name": "tmp", "mountPath": "/tmp"}, *more.pop("volumeMounts", [])]  # noqa: S108 - an emptyDir
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        # The kubelet expands $(NAME) in commands, and $$ stands for $: a source's address must arrive as it is written.
        "command": [word.replace("$", "$$") for word in command],
        "env": env,
        "volumeMounts": mounts,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # A program that dies without a last word (a crash in native code) leaves the tail of its log.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **more,
    }


def pod_spec(service_account: str, settings: Settings, **more: Any) -> Object:
    """A pod's spec; ``volumes`` are added to what every pod has."""
    volumes = [{"name": "tmp", "emptyDir": {}}, *more.pop("volumes", [])]
    spec: Object = {
        "serviceAccountName": service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": volumes,
        **more,
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return spec


def speaks_to_embedded_store(settings: Settings) -> bool:
    """Whether the store is ours, which asks pods who they are, and not an object store with its own credentials."""
    return settings.store_url.startswith("http")


def store_access(settings: Settings) -> Object:
    """Fields of a container that speaks to the store: a token that says who it is, or an object store's credentials."""
    if speaks_to_embedded_store(settings):
        return {
            "env": [{"name": "KERAS_STORE_TOKEN_FILE", "value": f"{STORE_TOKEN_FOLDER}/token"}],
            "volumeMounts": [{"name": "store-token", "mountPath": STORE_TOKEN_FOLDER, "readOnly": True}],
        }
    if settings.store_secret:
        return {"envFrom": [{"secretRef": {"name": settings.store_secret}}]}
    return {}


def store_volumes(settings: Settings, audience: str) -> list[Object]:
    """Volumes that `store_access` mounts; the audience says whether the token writes or only reads."""
    if not speaks_to_embedded_store(settings):
        return []
    token = {"path": "token", "audience": audience, "expirationSeconds": STORE_TOKEN_SECONDS}
    return [{"name": "store-token", "projected": {"sources": [{"serviceAccountToken": token}]}}]
