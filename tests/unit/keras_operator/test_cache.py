"""The cache says whom a change is about, and forgets what is gone, whatever order events come in."""

from __future__ import annotations

from typing import Any

from operator_makers import KEY, body, live, model, pod, ready_pod

from keras_api.reasons import Reason
from keras_operator.cache.cache import Cache
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import DEPLOYMENT, KERAS_MODEL, POD, SERVICE, Key, Object, Ref
from keras_operator.render.service import service


def _service(version: int = 10, uid: str = "u", **metadata: Any) -> Object:
    return live(SERVICE, service(model()), version=version, uid=uid, **metadata)


def test_a_change_wakes_its_model() -> None:
    world = Cache()
    assert world.see(KERAS_MODEL, body()) == KEY
    assert world.see(SERVICE, _service()) == KEY
    assert world.see(POD, ready_pod("r1")) == KEY


def test_what_is_known_already_wakes_nobody() -> None:
    world = Cache()
    world.see(SERVICE, _service())
    assert world.see(SERVICE, _service(version=11)) is None


def test_an_older_version_changes_nothing() -> None:
    world = Cache()
    world.see(POD, pod("server", "r1", phase="Running") | {})
    old = ready_pod("r1")
    old["metadata"]["resourceVersion"] = "5"
    assert world.see(POD, old) is None
    assert not world.pods(KEY)[0].ready


def test_an_object_of_somebody_else_is_not_ours() -> None:
    assert Cache().see(SERVICE, _service(labels={"app": "theirs"})) is None


def test_a_child_whose_labels_were_taken_off_is_still_its_models() -> None:
    world = Cache()
    world.see(SERVICE, _service())
    stripped = _service(version=11, labels={}, ownerReferences=[])
    assert world.see(SERVICE, stripped) == KEY
    assert world.children(KEY)[Ref(SERVICE, "digits")].controller is None


def test_the_end_of_an_object_does_not_touch_its_successor() -> None:
    world = Cache()
    world.see(SERVICE, _service(version=20, uid="new"))
    assert world.forget(SERVICE, _service(version=21, uid="old")) is None
    assert Ref(SERVICE, "digits") in world.children(KEY)


def test_a_deleted_child_wakes_its_model() -> None:
    world = Cache()
    world.see(SERVICE, _service())
    assert world.forget(SERVICE, _service()) == KEY
    assert world.children(KEY) == {}


def test_a_listing_finds_what_vanished_unnoticed() -> None:
    world = Cache()
    world.see(SERVICE, _service(version=10))
    with world.listing(SERVICE, None) as listing:
        listing.take([], version=15)
        assert listing.end() == {KEY}
    assert world.children(KEY) == {}


def test_a_listing_leaves_what_is_newer_than_it() -> None:
    world = Cache()
    world.see(SERVICE, _service(version=20))
    with world.listing(SERVICE, None) as listing:
        listing.take([], version=15)
        assert listing.end() == set()
    assert Ref(SERVICE, "digits") in world.children(KEY)


def test_a_listing_of_one_namespace_says_nothing_of_another() -> None:
    world = Cache()
    world.see(SERVICE, _service())
    with world.listing(SERVICE, "elsewhere") as listing:
        listing.take([], version=15)
        listing.end()
    assert Ref(SERVICE, "digits") in world.children(KEY)


def test_a_listing_keeps_what_any_of_its_pages_brought() -> None:
    world = Cache()
    with world.listing(SERVICE, None) as listing:
        assert listing.take([_service()], version=15) == {KEY}
        assert listing.take([], version=15) == set()
        assert listing.end() == set()
    assert Ref(SERVICE, "digits") in world.children(KEY)


def test_a_page_does_not_bring_back_what_was_deleted_meanwhile() -> None:
    world = Cache()
    with world.listing(SERVICE, None) as listing:
        world.forget(SERVICE, _service(version=12))
        listing.take([_service(version=10)], version=11)
    assert world.children(KEY) == {}


def test_a_kind_that_the_cluster_lost_is_forgotten_whole() -> None:
    world = Cache()
    world.see(SERVICE, _service(version=20))
    world.see(POD, ready_pod("r1"))
    world.forget_all(SERVICE)
    assert world.children(KEY) == {}
    assert len(world.pods(KEY)) == 1


def test_a_model_on_its_way_out_is_not_worked_on() -> None:
    world = Cache()
    going = body()
    going["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert world.see(KERAS_MODEL, going) == KEY
    assert world.model(KEY) is None


def test_trust_ends_when_our_fields_change() -> None:
    world = Cache()
    world.see(SERVICE, _service())
    child = world.children(KEY)[Ref(SERVICE, "digits")]
    assert world.trusts(child) is None
    world.trust(KEY, child)
    assert world.children(KEY)[child.ref].body is None
    changed = _service(version=11, managedFields=[])
    assert world.see(SERVICE, changed) == KEY
    assert world.trusts(world.children(KEY)[child.ref]) is False


def test_a_deployment_is_known_by_the_revision_of_its_pods() -> None:
    world = Cache()
    template = {"metadata": {"labels": {"keras-operator.dev/revision": "r7"}}}
    rendered = {**service(model()), "spec": {"template": template, "replicas": 3}}
    world.see(DEPLOYMENT, live(DEPLOYMENT, rendered))
    child = world.children(KEY)[Ref(DEPLOYMENT, "digits")]
    assert (child.revision, child.replicas) == ("r7", 3)


def test_what_was_applied_is_trusted_even_if_the_watch_was_ahead_of_the_answer() -> None:
    world = Cache()
    world.see(SERVICE, _service())
    world.trust(KEY, world.children(KEY)[Ref(SERVICE, "digits")])
    entry = {"manager": "keras-operator", "operation": "Apply", "fieldsV1": {}, "time": "2026-11-22T12:00:00Z"}
    world.see(SERVICE, _service(version=12, managedFields=[entry]))
    world.see_applied(SERVICE, _service(version=11, managedFields=[entry]))
    assert world.trusts(world.children(KEY)[Ref(SERVICE, "digits")]) is True


def test_a_right_that_is_missing_in_one_namespace_hides_nothing_in_another() -> None:
    world = Cache()
    problem = ApplyError(Reason.FORBIDDEN, "no right to list")
    world.denied[(POD, KEY.namespace), "list"] = problem
    assert world.hidden(KEY) == {POD: problem}
    assert world.hidden(Key("elsewhere", "digits")) == {}
    world.denied[(SERVICE, None), "watch"] = problem
    assert set(world.hidden(Key("elsewhere", "digits"))) == {SERVICE}
