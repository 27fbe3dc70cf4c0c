"""The work queue: one entry per key, one turn per key at a time, patience that grows."""

from __future__ import annotations

import asyncio

from keras_operator.kube.workqueue import FIRST_BACKOFF, JITTER, LONGEST_BACKOFF, WorkQueue


async def take(queue: WorkQueue[str]) -> str:
    async with asyncio.timeout(2):
        key, _ = await queue.get()
    return key


async def test_a_key_asked_for_twice_gets_one_turn() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.add("a")
    assert await take(queue) == "a"
    assert len(queue) == 0


async def test_keys_get_their_turns_in_order() -> None:
    queue = WorkQueue[str]()
    for key in "abc":
        queue.add(key)
    assert [await take(queue) for _ in "abc"] == list("abc")


async def test_a_key_asked_for_in_its_turn_gets_another_one_afterwards() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    key = await take(queue)
    queue.add("a")
    queue.add("b")
    assert await take(queue) == "b", "a still has its turn"
    queue.done(key)
    assert await take(queue) == "a"


async def test_a_wake_up_comes_in_time() -> None:
    queue = WorkQueue[str]()
    queue.add_later("a", 0.01)
    assert len(queue) == 0
    assert await take(queue) == "a"


async def test_the_earlier_of_two_wake_ups_counts() -> None:
    queue = WorkQueue[str]()
    queue.add_later("a", 60)
    queue.add_later("a", 0.01)
    queue.add_later("a", 30)
    assert await take(queue) == "a"


async def test_an_event_makes_a_wake_up_needless() -> None:
    queue = WorkQueue[str]()
    queue.add_later("a", 0.01)
    queue.add("a")
    queue.done(await take(queue))
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_a_key_that_fails_waits_longer_every_time_up_to_a_limit() -> None:
    queue = WorkQueue[str]()
    pauses = []
    for _ in range(30):
        queue.add("a")
        pauses.append(queue.requeue(await take(queue)))
    assert FIRST_BACKOFF * (1 - JITTER) <= pauses[0] <= FIRST_BACKOFF * (1 + JITTER)
    assert pauses[4] > pauses[0]
    assert max(pauses) <= LONGEST_BACKOFF * (1 + JITTER)


async def test_a_pause_that_was_asked_for_is_kept_and_does_not_grow() -> None:
    queue = WorkQueue[str]()
    pauses = []
    for _ in range(30):
        queue.add("a")
        pauses.append(queue.requeue(await take(queue), retry_after=3))
    assert min(pauses) >= 3
    assert max(pauses) <= 3 * (1 + 2 * JITTER)
    queue.add("a")
    assert queue.requeue(await take(queue)) <= FIRST_BACKOFF * (1 + JITTER)


async def test_success_ends_the_patience() -> None:
    queue = WorkQueue[str]()
    for _ in range(10):
        queue.add("a")
        queue.requeue(await take(queue))
    queue.add("a")
    queue.done(await take(queue))
    queue.add("a")
    assert queue.requeue(await take(queue)) <= FIRST_BACKOFF * (1 + JITTER)
