"""The cache finds the model of a change, and removes deleted objects, whatever the order of events is."""

from __future__ import annotations

from typing import Any

from operator_makers import CHILD_KINDS, KEY, body, job, live, model, pod, prepare_pod, ready_pod, service

from keras_api.reasons import Reason
from keras_operator.cache.cache import Cache
from keras_operator.cache.objects import Pod
from keras_operator.kube.errors import ApplyError
from keras_operator.kube.kinds import DEPLOYMENT, JOB, KERAS_MODEL, POD, SERVICE, Key, Object, Ref


def _service(version: int = 10, uid: str = "u", **metadata: Any) -> Object:
    return live(SERVICE, service(model()), version=version, uid=uid, **metadata)


def test_a_change_returns_its_model() -> None:
    cache = Cache(CHILD_KINDS)
    assert cache.update(KERAS_MODEL, body()) == KEY
    assert cache.update(SERVICE, _service()) == KEY
    assert cache.update(POD, ready_pod("r1")) == KEY


def test_a_change_of_the_version_alone_returns_no_model() -> None:
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


def test_an_object_of_another_owner_is_ignored() -> None:
    assert Cache(CHILD_KINDS).update(SERVICE, _service(labels={"app": "theirs"})) is None


def test_a_child_without_labels_still_belongs_to_its_model() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    stripped = _service(version=11, labels={}, ownerReferences=[])
    assert cache.update(SERVICE, stripped) == KEY
    assert cache.children(KEY)[Ref(SERVICE, "digits")].controller is None


def test_the_deletion_of_an_object_does_not_affect_its_successor() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service(version=20, uid="new"))
    assert cache.remove(SERVICE, _service(version=21, uid="old")) is None
    assert Ref(SERVICE, "digits") in cache.children(KEY)


def test_a_deleted_child_returns_its_model() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    assert cache.remove(SERVICE, _service()) == KEY
    assert cache.children(KEY) == {}


def test_a_listing_removes_objects_that_no_longer_exist() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service(version=10))
    with cache.listing(SERVICE, None) as listing:
        listing.add_page([], version=15)
        assert listing.end() == {KEY}
    assert cache.children(KEY) == {}


def test_a_listing_keeps_objects_that_are_newer() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service(version=20))
    with cache.listing(SERVICE, None) as listing:
        listing.add_page([], version=15)
        assert listing.end() == set()
    assert Ref(SERVICE, "digits") in cache.children(KEY)


def test_a_listing_of_one_namespace_does_not_affect_another() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    with cache.listing(SERVICE, "elsewhere") as listing:
        listing.add_page([], version=15)
        listing.end()
    assert Ref(SERVICE, "digits") in cache.children(KEY)


def test_a_listing_keeps_the_objects_of_all_its_pages() -> None:
    cache = Cache(CHILD_KINDS)
    with cache.listing(SERVICE, None) as listing:
        assert listing.add_page([_service()], version=15) == {KEY}
        assert listing.add_page([], version=15) == set()
        assert listing.end() == set()
    assert Ref(SERVICE, "digits") in cache.children(KEY)


def test_a_page_does_not_restore_an_object_that_was_deleted_meanwhile() -> None:
    cache = Cache(CHILD_KINDS)
    with cache.listing(SERVICE, None) as listing:
        cache.remove(SERVICE, _service(version=12))
        listing.add_page([_service(version=10)], version=11)
    assert cache.children(KEY) == {}


def test_all_objects_of_a_kind_are_removed_with_the_kind() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service(version=20))
    cache.update(POD, ready_pod("r1"))
    cache.remove_all(SERVICE)
    assert cache.children(KEY) == {}
    assert len(cache.pods(KEY)) == 1


def test_a_model_that_is_being_deleted_is_not_reconciled() -> None:
    cache = Cache(CHILD_KINDS)
    deleting = body()
    deleting["metadata"]["deletionTimestamp"] = "2026-11-22T12:00:00Z"
    assert cache.update(KERAS_MODEL, deleting) == KEY
    assert cache.model(KEY) is None


def test_a_child_is_modified_when_its_managed_fields_change() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    child = cache.children(KEY)[Ref(SERVICE, "digits")]
    assert cache.is_unmodified(child) is None
    cache.mark_unmodified(KEY, child)
    assert cache.children(KEY)[child.ref].body is None
    changed = _service(version=11, managedFields=[])
    assert cache.update(SERVICE, changed) == KEY
    assert cache.is_unmodified(cache.children(KEY)[child.ref]) is False


def test_the_revision_of_a_deployment_is_that_of_its_pod_template() -> None:
    cache = Cache(CHILD_KINDS)
    template = {"metadata": {"labels": {"keras-operator.dev/revision": "r7"}}}
    rendered = {**service(model()), "spec": {"template": template, "replicas": 3}}
    cache.update(DEPLOYMENT, live(DEPLOYMENT, rendered))
    child = cache.children(KEY)[Ref(DEPLOYMENT, "digits")]
    assert (child.revision, child.replicas) == ("r7", 3)


def test_an_applied_object_is_unmodified_even_if_the_watch_is_ahead_of_the_answer() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(SERVICE, _service())
    cache.mark_unmodified(KEY, cache.children(KEY)[Ref(SERVICE, "digits")])
    entry = {"manager": "keras-operator", "operation": "Apply", "fieldsV1": {}, "time": "2026-11-22T12:00:00Z"}
    cache.update(SERVICE, _service(version=12, managedFields=[entry]))
    cache.update_applied(SERVICE, _service(version=11, managedFields=[entry]))
    assert cache.is_unmodified(cache.children(KEY)[Ref(SERVICE, "digits")]) is True


def test_a_missing_permission_affects_only_its_namespace() -> None:
    cache = Cache(CHILD_KINDS)
    error = ApplyError(Reason.FORBIDDEN, "no permission to list")
    assert cache.set_forbidden((POD, KEY.namespace), "list", error)
    assert cache.forbidden(KEY) == {POD: error}
    assert cache.forbidden(Key("elsewhere", "digits")) == {}
    assert cache.set_forbidden((SERVICE, None), "watch", error)
    assert set(cache.forbidden(Key("elsewhere", "digits"))) == {SERVICE}


def _job_and_pod(cache: Cache) -> Pod:
    cache.update(JOB, job("r1"))
    cache.update(POD, prepare_pod("r1", {"running": {}}))
    (pod,) = cache.pods(KEY)
    return pod


def test_the_last_pod_of_a_job_is_kept_when_it_is_deleted() -> None:
    cache = Cache(CHILD_KINDS)
    pod = _job_and_pod(cache)
    assert cache.remove(POD, prepare_pod("r1")) == KEY
    assert cache.pods(KEY) == ()
    assert cache.removed_pods(KEY) == (pod,)


def test_the_removed_pod_of_a_job_is_dropped_with_the_job() -> None:
    cache = Cache(CHILD_KINDS)
    _job_and_pod(cache)
    cache.remove(POD, prepare_pod("r1"))
    cache.remove(JOB, job("r1"))
    assert cache.removed_pods(KEY) == ()


def test_a_removed_pod_of_a_deployment_is_not_kept() -> None:
    cache = Cache(CHILD_KINDS)
    cache.update(POD, ready_pod("r1"))
    cache.remove(POD, ready_pod("r1"))
    assert cache.removed_pods(KEY) == ()
