"""Parts of a pod add up, in their order."""

from __future__ import annotations

from keras_api.pod_part import PodPart, volumes_of

TOKEN = PodPart(
    args=("--store", "http://store"),
    env=({"name": "TOKEN", "value": "/token"},),
    mounts=({"name": "token", "mountPath": "/token"},),
    volumes=({"name": "token", "emptyDir": {}},),
)
SECRET = PodPart(args=("--secret",), env_from=({"secretRef": {"name": "reader"}},))


def test_a_sum_has_the_entries_of_both_in_their_order():
    both = TOKEN + SECRET
    assert both.args == ("--store", "http://store", "--secret")
    assert (both.env, both.env_from, both.mounts) == (TOKEN.env, SECRET.env_from, TOKEN.mounts)


def test_an_empty_part_changes_nothing():
    assert PodPart() + TOKEN == TOKEN == TOKEN + PodPart()


def test_a_volume_that_two_containers_share_is_one_of_the_pod():
    assert volumes_of(TOKEN, SECRET, TOKEN) == [{"name": "token", "emptyDir": {}}]
