"""The work queue: one entry per key, one worker per key at a time, exponential backoff."""

from __future__ import annotations

import asyncio

from keras_operator.kube.workqueue import FIRST_BACKOFF, JITTER, LONGEST_BACKOFF, WorkQueue


async def get(queue: WorkQueue[str]) -> str:
    async with asyncio.timeout(2):
        key, _ = await queue.get()
    return key


async def test_a_key_added_twice_is_processed_once() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    queue.add("a")
    assert await get(queue) == "a"
    assert len(queue) == 0


async def test_keys_are_processed_in_order() -> None:
    queue = WorkQueue[str]()
    for key in "abc":
        queue.add(key)
    assert [await get(queue) for _ in "abc"] == list("abc")


async def test_a_key_added_while_it_is_processed_is_processed_again_afterwards() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    key = await get(queue)
    queue.add("a")
    queue.add("b")
    assert await get(queue) == "b", "a is still being processed"
    queue.done(key)
    assert await get(queue) == "a"


async def test_a_delayed_key_arrives_in_time() -> None:
    queue = WorkQueue[str]()
    queue.add_later("a", 0.01)
    assert len(queue) == 0
    assert await get(queue) == "a"


async def test_the_earlier_of_two_delays_counts() -> None:
    queue = WorkQueue[str]()
    queue.add_later("a", 60)
    queue.add_later("a", 0.01)
    queue.add_later("a", 30)
    assert await get(queue) == "a"


async def test_adding_a_key_cancels_its_delay() -> None:
    queue = WorkQueue[str]()
    queue.add_later("a", 0.01)
    queue.add("a")
    queue.done(await get(queue))
    await asyncio.sleep(0.03)
    assert len(queue) == 0


async def test_the_backoff_grows_with_every_failure_up_to_a_limit() -> None:
    queue = WorkQueue[str]()
    pauses = []
    for _ in range(30):
        queue.add("a")
        pauses.append(queue.requeue(await get(queue)))
    assert FIRST_BACKOFF * (1 - JITTER) <= pauses[0] <= FIRST_BACKOFF * (1 + JITTER)
    assert pauses[4] > pauses[0]
    assert max(pauses) <= LONGEST_BACKOFF * (1 + JITTER)


async def test_retry_after_is_respected_and_does_not_grow() -> None:
    queue = WorkQueue[str]()
    pauses = []
    for _ in range(30):
        queue.add("a")
        pauses.append(queue.requeue(await get(queue), retry_after=3))
    assert min(pauses) >= 3
    assert max(pauses) <= 3 * (1 + 2 * JITTER)
    queue.add("a")
    assert queue.requeue(await get(queue)) <= FIRST_BACKOFF * (1 + JITTER)


async def test_success_resets_the_backoff() -> None:
    queue = WorkQueue[str]()
    for _ in range(10):
        queue.add("a")
        queue.requeue(await get(queue))
    queue.add("a")
    queue.done(await get(queue))
    queue.add("a")
    assert queue.requeue(await get(queue)) <= FIRST_BACKOFF * (1 + JITTER)
