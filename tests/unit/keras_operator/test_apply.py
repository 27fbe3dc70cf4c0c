"""The applier changes the model's own children only, also when the watch has not reported the latest changes yet."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from fake_api_server import METRICS, FakeApiServer
from fake_cluster import Cluster
from operator_makers import CHILD_KINDS, CONFIG, FOUND, KEY, NOW, prepare_job, service

from keras_api.reasons import Reason
from keras_api.resource import KerasModel, parse_model
from keras_operator.apply import Applier
from keras_operator.cache.cache import Cache
from keras_operator.decide.plan import Desired, Plan
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import JOB, SERVICE, Kind, Object, Ref
from keras_operator.state.observed import observe
from keras_operator.tasks.chain import ChainState
from keras_store.sources.fingerprint import Fingerprint

THE_SERVICE = Ref(SERVICE, KEY.name)


class Scene:
    """An API server, and an operator that knows only what it has applied itself: its watches report nothing."""

    def __init__(self) -> None:
        self.cluster = Cluster(lambda: NOW)
        self.server = FakeApiServer(self.cluster)
        self.cache = Cache(CHILD_KINDS)
        self.applier = Applier(self.server.client(), self.cache, CONFIG, METRICS)

    @property
    def model(self) -> KerasModel:
        (body,) = [obj for ref, obj in self.cluster.objects.items() if ref.kind.name == "KerasModel"]
        return parse_model(body)

    async def apply(self, kind: Kind, rendered: Object) -> Mapping[Ref, ApplyError]:
        ref = Ref(kind, rendered["metadata"]["name"])
        plan = Plan(ChainState(), waves=((Desired(ref, rendered),),))
        return await self.applier.apply(self.model, plan, observe(self.model, self.cache, FOUND, NOW))


@pytest.fixture
def scene() -> Scene:
    return Scene()


def changed(rendered: Object) -> Object:
    return {**rendered, "spec": {**rendered["spec"], "sessionAffinity": "ClientIP"}}


async def test_an_object_that_has_replaced_a_child_is_left_alone(scene: Scene) -> None:
    await scene.apply(SERVICE, service(scene.model))
    scene.cluster.delete(THE_SERVICE)
    theirs = scene.cluster.occupy(THE_SERVICE)
    errors = await scene.apply(SERVICE, changed(service(scene.model)))
    assert errors[THE_SERVICE].reason == Reason.NAME_CONFLICT
    assert scene.cluster.objects[THE_SERVICE] == theirs


async def test_a_child_whose_deletion_is_not_reported_yet_is_created_again(scene: Scene) -> None:
    await scene.apply(SERVICE, service(scene.model))
    scene.cluster.delete(THE_SERVICE)
    assert await scene.apply(SERVICE, changed(service(scene.model))) == {}
    assert scene.cluster.objects[THE_SERVICE]["spec"]["sessionAffinity"] == "ClientIP"


async def test_a_port_that_another_client_changed_is_changed_back(scene: Scene) -> None:
    await scene.apply(SERVICE, service(scene.model))
    scene.cluster.edit_child(THE_SERVICE)
    assert await scene.apply(SERVICE, changed(service(scene.model))) == {}
    (port,) = scene.cluster.objects[THE_SERVICE]["spec"]["ports"]
    assert port["port"] == 8080


def attempt(scene: Scene, number: int) -> Object:
    return prepare_job(scene.model, "r1", Fingerprint("etag-1", 1), attempt=number)


async def test_the_next_attempt_of_a_job_replaces_it(scene: Scene) -> None:
    await scene.apply(JOB, attempt(scene, 1))
    assert await scene.apply(JOB, attempt(scene, 2)) == {}
    (job,) = scene.cluster.all(JOB)
    assert job["metadata"]["annotations"]["keras-operator.dev/attempt"] == "2"


async def test_the_next_attempt_of_a_job_does_not_take_a_name_from_another_owner(scene: Scene) -> None:
    await scene.apply(JOB, attempt(scene, 1))
    (ref,) = scene.cluster.managed(JOB)
    scene.cluster.delete(ref)
    theirs = scene.cluster.occupy(ref)
    errors = await scene.apply(JOB, attempt(scene, 2))
    assert errors[ref].reason == Reason.NAME_CONFLICT
    assert scene.cluster.objects[ref] == theirs
