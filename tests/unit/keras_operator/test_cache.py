"""The cache says whom a change is about, and forgets what is gone, whatever order events come in."""

from __future__ import annotations

from typing import Any

from operator_makers import CHILD_KINDS, KEY, body, live, model, pod, ready_pod, service

from keras_api.reasons import Reason
from keras_operator.cache.cache import Cache
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import DEPLOYMENT, KERAS_MODEL, POD, SERVICE, Key, Object, Ref


def _service(version: int = 10, uid: str = "u", **metadata: Any) -> Object:
    return live(SERVICE, service(model()), version=version, uid=uid, **metadata)


def test_a_change_wakes_its_model() -> None:
    cache = Cache(CHILD_KINDS)
    assert cache.update(KERAS_MODEL, body()) == KEY
    assert cache.update(SERVICE, _service()) == KEY
    assert cache.update(POD, ready_pod("r1")) == KEY


def test_what_is_known_already_wakes_nobody() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    assert cache.update(SERVICE, _service(version=11)) is None


def test_an_older_version_changes_nothing() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(POD, pod("server", "r1", phase="Running") | {})
    old = ready_pod("r1")
    old["metadata"]["resourceVersion"] = "5"
    assert cache.update(POD, old) is None
    assert not cache.pods(KEY)[0].ready


def test_an_object_of_somebody_else_is_not_ours() -> None:
    assert Cache(CHILD_KINDS).update(SERVICE, _service(labels={"app": "theirs"})) is None


def test_a_child_whose_labels_were_taken_off_is_still_its_models() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    stripped = _service(version=11, labels={}, ownerReferences=[])
    assert cache.update(SERVICE, stripped) == KEY
    assert cache.children(KEY)[Ref(SERVICE, "digits")].controller is None


def test_the_end_of_an_object_does_not_touch_its_successor() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service(version=20, uid="new"))
    assert cache.remove(SERVICE, _service(version=21, uid="old")) is None
    assert Ref(SERVICE, "digits") in cache.children(KEY)


def test_a_deleted_child_wakes_its_model() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    assert cache.remove(SERVICE, _service()) == KEY
    assert cache.children(KEY) == {}


def test_a_listing_finds_what_vanished_unnoticed() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service(version=10))
    with cache.listing(SERVICE, None) as listing:
        listing.add_page([], version=15)
        assert listing.end() == {KEY}
    assert cache.children(KEY) == {}


def test_a_listing_leaves_what_is_newer_than_it() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service(version=20))
    with cache.listing(SERVICE, None) as listing:
        listing.add_page([], version=15)
        assert listing.end() == set()
    assert Ref(SERVICE, "digits") in cache.children(KEY)


def test_a_listing_of_one_namespace_says_nothing_of_another() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    with cache.listing(SERVICE, "elsewhere") as listing:
        listing.add_page([], version=15)
        listing.end()
    assert Ref(SERVICE, "digits") in cache.children(KEY)


def test_a_listing_keeps_what_any_of_its_pages_brought() -> None:
    cache = Cache(CHILD_KINDS)
    with cache.listing(SERVICE, None) as listing:
        assert listing.add_page([_service()], version=15) == {KEY}
        assert listing.add_page([], version=15) == set()
        assert listing.end() == set()
    assert Ref(SERVICE, "digits") in cache.children(KEY)


def test_a_page_does_not_bring_back_what_was_deleted_meanwhile() -> None:
    cache = Cache(CHILD_KINDS)
    with cache.listing(SERVICE, None) as listing:
        cache.remove(SERVICE, _service(version=12))
        listing.add_page([_service(version=10)], version=11)
    assert cache.children(KEY) == {}


def test_a_kind_that_the_cluster_lost_is_forgotten_whole() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service(version=20))
    cache.update(POD, ready_pod("r1"))
    cache.forget_all(SERVICE)
    assert cache.children(KEY) == {}
    assert len(cache.pods(KEY)) == 1


def test_a_model_on_its_way_out_is_not_worked_on() -> None:
    cache = Cache(CHILD_KINDS)
    going = body()
    going["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert cache.update(KERAS_MODEL, going) == KEY
    assert cache.model(KEY) is None


def test_trust_ends_when_our_fields_change() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    child = cache.children(KEY)[Ref(SERVICE, "digits")]
    assert cache.trusts(child) is None
    cache.trust(KEY, child)
    assert cache.children(KEY)[child.ref].body is None
    changed = _service(version=11, managedFields=[])
    assert cache.update(SERVICE, changed) == KEY
    assert cache.trusts(cache.children(KEY)[child.ref]) is False


def test_a_deployment_is_known_by_the_revision_of_its_pods() -> None:
    cache = Cache(CHILD_KINDS)
    template = {"metadata": {"labels": {"keras-operator.dev/revision": "r7"}}}
    rendered = {**service(model()), "spec": {"template": template, "replicas": 3}}
    cache.update(DEPLOYMENT, live(DEPLOYMENT, rendered))
    child = cache.children(KEY)[Ref(DEPLOYMENT, "digits")]
    assert (child.revision, child.replicas) == ("r7", 3)


def test_what_was_applied_is_trusted_even_if_the_watch_was_ahead_of_the_answer() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    cache.trust(KEY, cache.children(KEY)[Ref(SERVICE, "digits")])
    entry = {"manager": "keras-operator", "operation": "Apply", "fieldsV1": {}, "time": "2026-11-22T12:00:00Z"}
    cache.update(SERVICE, _service(version=12, managedFields=[entry]))
    cache.see_applied(SERVICE, _service(version=11, managedFields=[entry]))
    assert cache.trusts(cache.children(KEY)[Ref(SERVICE, "digits")]) is True


def test_a_right_that_is_missing_in_one_namespace_hides_nothing_in_another() -> None:
    cache = Cache(CHILD_KINDS)
    problem = ApplyError(Reason.FORBIDDEN, "no right to list")
    cache.denied[(POD, KEY.namespace), "list"] = problem
    assert cache.hidden(KEY) == {POD: problem}
    assert cache.hidden(Key("elsewhere", "digits")) == {}
    cache.denied[(SERVICE, None), "watch"] = problem
    assert set(cache.hidden(Key("elsewhere", "digits"))) == {SERVICE}
