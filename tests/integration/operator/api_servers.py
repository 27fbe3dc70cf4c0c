"""API servers with the CRD, for the fixtures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cluster.apiserver import ApiServer
from kube import Kube, wait_until

from keras_api.crd import custom_resource_definition
from keras_store.sources.base import Scheme
from keras_store.sources.registry import SCHEMES


@contextmanager
def api_server_with(folder: Path, schemes: Sequence[Scheme] = SCHEMES) -> Iterator[ApiServer]:
    """An API with the CRD for addresses of these schemes."""
    with ApiServer(folder, controller_manager=True) as server:
        kube = Kube(server.kubeconfig)
        kube.create(custom_resource_definition(schemes))
        wait_until(lambda: kube.serves("/apis/keras-operator.dev/v1alpha1"), "the CRD to be served")
        yield server
