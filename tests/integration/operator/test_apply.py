"""The API server compares the uid in an apply with the live object, as the applier relies on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from cluster.apiserver import ApiServer
from kube import Object

from keras_operator.kube.client import KubeClient, connect
from keras_operator.kube.errors import ApiError
from keras_operator.kube.kinds import SERVICE
from keras_operator.kube.metrics import Metrics


@pytest.fixture
async def client(api_server: ApiServer, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KubeClient]:
    monkeypatch.setenv("KUBECONFIG", str(api_server.kubeconfig))
    client = await connect(Metrics(), 10, 30)
    yield client
    await client.aclose()


def service(namespace: str, **metadata: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "digits", "namespace": namespace, **metadata},
        "spec": {"ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
    }


async def test_an_apply_to_an_object_that_does_not_exist_any_more_creates_none(
    client: KubeClient, namespace: str
) -> None:
    uid = (await client.apply(SERVICE, service(namespace)))["metadata"]["uid"]
    await client.delete(SERVICE, namespace, "digits", uid)
    with pytest.raises(ApiError) as raised:
        await client.apply(SERVICE, service(namespace, uid=uid))
    assert raised.value.status == 409
    assert await client.get(SERVICE, namespace, "digits") is None


async def test_an_apply_to_an_object_that_was_replaced_changes_nothing(client: KubeClient, namespace: str) -> None:
    before = await client.apply(SERVICE, service(namespace))
    with pytest.raises(ApiError) as raised:
        await client.apply(SERVICE, service(namespace, uid="of the object before"))
    assert (raised.value.status, "metadata.uid" in raised.value.message) == (422, True)
    assert await client.get(SERVICE, namespace, "digits") == before
    assert await client.apply(SERVICE, service(namespace, uid=before["metadata"]["uid"])) == before
