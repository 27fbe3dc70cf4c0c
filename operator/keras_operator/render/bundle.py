"""How the bundle's folder gets into a serving pod: an init container copies it from the store and checks it."""

from __future__ import annotations

from typing import NamedTuple

from keras_api.request import bundle_path
from keras_api.resource import KerasModel
from keras_operator.kinds import Object
from keras_operator.render.pods import container, store_access, store_volumes
from keras_operator.settings import Settings

FOLDER = "/bundle"


class BundleFields(NamedTuple):
    """What a pod's spec needs for the bundle to be at `FOLDER`."""

    init_containers: list[Object]
    volumes: list[Object]
    mount: Object


def bundle_fields(model: KerasModel, revision: str, settings: Settings) -> BundleFields:
    """The fields for one revision's bundle."""
    path = bundle_path(model.metadata.namespace, model.metadata.name, revision)
    access = store_access(settings)
    mount = {"name": "bundle", "mountPath": FOLDER}
    get = container(
        "bundle",
        settings.server_image,
        ["python", "-m", "keras_store", "get", "--store", settings.store_url, "--path", path, "--into", FOLDER],
        settings,
        resources={"requests": {"cpu": "50m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        **{**access, "volumeMounts": [mount, *access.get("volumeMounts", [])]},
    )
    return BundleFields(
        [get], [{"name": "bundle", "emptyDir": {}}, *store_volumes(settings)], {**mount, "readOnly": True}
    )
