"""How the bundle gets into a serving pod: the server downloads it into a folder of the pod's own.

An init container would do so as well, but the kubelet looks only once a second whether one has ended.
"""

from __future__ import annotations

from typing import NamedTuple

from keras_api.prepare_request import bundle_path
from keras_api.resource import KerasModel
from keras_operator.kube.kinds import Object
from keras_operator.render.pods import store_access, store_volumes
from keras_operator.settings import Settings
from keras_store.store_access import AUDIENCE, READ_SUFFIX

FOLDER = "/bundle"


class BundleFields(NamedTuple):
    """What a server needs to get its bundle."""

    arguments: list[str]
    """Of the server."""
    container: Object
    """Fields of its container."""
    volumes: list[Object]
    """Of its pod."""


def bundle_fields(model: KerasModel, revision: str, settings: Settings) -> BundleFields:
    """The fields for one revision's bundle."""
    path = bundle_path(model.metadata.namespace, model.metadata.name, revision)
    access = store_access(settings)
    mount = {"name": "bundle", "mountPath": FOLDER}
    return BundleFields(
        ["--store", settings.store_url, "--path", path, "--bundle", FOLDER],
        {**access, "volumeMounts": [mount, *access.get("volumeMounts", [])]},
        [{"name": "bundle", "emptyDir": {}}, *store_volumes(settings, AUDIENCE + READ_SUFFIX)],
    )
