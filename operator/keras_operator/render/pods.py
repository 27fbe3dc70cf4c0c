"""Fields that all pods of the operator share: identity, hardening, and the access to the store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_api.pod_part import PodPart, volumes_of
from keras_operator.kube.kinds import Object
from keras_operator.settings import Settings
from keras_store.store_access import TOKEN_FILE_VARIABLE

USER = 65532
"""The unprivileged user of the operator's images."""

STORE_TOKEN_FOLDER = "/var/run/secrets/keras-operator.dev/store"  # noqa: S105 - a folder's name
STORE_TOKEN_SECONDS = 3600

_TMP = PodPart(
    mounts=({"name": "tmp", "mountPath": "/tmp"},),  # noqa: S108 - an emptyDir
    volumes=({"name": "tmp", "emptyDir": {}},),
)


def container(name: str, image: str, command: Sequence[str], settings: Settings, part: PodPart, **more: Any) -> Object:
    """A container without privileges, which can write only to its volumes.

    Args:
        name: its name.
        image: its image.
        command: program and arguments, taken literally; the arguments of `part` follow.
        settings: the operator's settings.
        part: arguments, environment and mounts.
        more: further fields.
    """
    # Libraries write to the home folder, which is on the read-only root filesystem by default.
    env = [{"name": "HOME", "value": "/tmp"}, *part.env]  # noqa: S108 - an emptyDir
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": settings.image_pull_policy,
        # The kubelet expands $(NAME) in commands, and reads $$ as $: a source's address must arrive unchanged.
        "command": [word.replace("$", "$$") for word in (*command, *part.args)],
        "env": env,
        **({"envFrom": list(part.env_from)} if part.env_from else {}),
        "volumeMounts": [*_TMP.mounts, *part.mounts],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # A program that crashes in native code writes no report; the end of its log replaces the report then.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        **more,
    }


def pod_spec(service_account: str, settings: Settings, parts: Sequence[PodPart], **more: Any) -> Object:
    """A pod's spec, with the volumes of its containers' parts."""
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
        "volumes": volumes_of(_TMP, *parts),
        **more,
    }
    if settings.image_pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.image_pull_secrets]
    return spec


def uses_embedded_store(settings: Settings) -> bool:
    """Whether the store is the embedded one, which identifies pods by their tokens, and not an object store."""
    return settings.store_url.startswith("http")


def store_part(settings: Settings, audience: str) -> PodPart:
    """Access to the store: a token that identifies the pod, or an object store's credentials.

    Args:
        settings: the operator's settings.
        audience: the token's audience, which decides whether it can write.
    """
    if uses_embedded_store(settings):
        token = {"path": "token", "audience": audience, "expirationSeconds": STORE_TOKEN_SECONDS}
        return PodPart(
            env=({"name": TOKEN_FILE_VARIABLE, "value": f"{STORE_TOKEN_FOLDER}/token"},),
            mounts=({"name": "store-token", "mountPath": STORE_TOKEN_FOLDER, "readOnly": True},),
            volumes=({"name": "store-token", "projected": {"sources": [{"serviceAccountToken": token}]}},),
        )
    if settings.store_secret:
        return PodPart(env_from=({"secretRef": {"name": settings.store_secret}},))
    return PodPart()
