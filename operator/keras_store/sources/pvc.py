"""``pvc://claim/path``: files on a PersistentVolumeClaim, which the operator mounts into the fetch container."""

from __future__ import annotations

from collections.abc import Sequence

from keras_api.pod_part import PodPart
from keras_api.resource import cel
from keras_store.sources.base import VOLUMES, Access, Address, Scheme, SourceFile
from keras_store.storage.folder import FolderStorage


def _open(address: Address, access: Access) -> SourceFile:
    return SourceFile(FolderStorage(access.volumes / address.host, name=f"pvc://{address.host}"), address.path)


def _pod_part(claims: Sequence[str]) -> PodPart:
    volumes = {f"claim-{index}": claim for index, claim in enumerate(claims)}
    return PodPart(
        mounts=tuple(
            {"name": name, "mountPath": f"{VOLUMES}/{claim}", "readOnly": True} for name, claim in volumes.items()
        ),
        volumes=tuple(
            {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
            for name, claim in volumes.items()
        ),
    )


PVC = Scheme(
    pattern="pvc",
    forms=("pvc://claim/path",),
    rules=(
        cel(
            "!self.startsWith('pvc://') || self.matches('^pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?/')",
            "must name a claim by lower-case letters, digits, dots and dashes",
        ),
    ),
    # The operator cannot access the volumes of a namespace: a new file there needs a new address.
    fixed_fingerprint="pvc",
    open=_open,
    pod_part=_pod_part,
)
