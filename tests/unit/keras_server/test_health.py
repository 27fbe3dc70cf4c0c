"""The states of the server follow each other in one direction only."""

from __future__ import annotations

import asyncio

import pytest

from keras_server.errors import NotReadyError
from keras_server.health import TRANSITIONS, Health, State

ALLOWED = {
    (State.LOADING, State.LOADING),
    (State.LOADING, State.FAILED),
    (State.LOADING, State.READY),
    (State.LOADING, State.DRAINING),
    (State.FAILED, State.DRAINING),
    (State.READY, State.DRAINING),
}


def health_in(state: State) -> Health:
    health = Health()
    if state is not State.LOADING:
        assert health.become(state, "before")
    return health


@pytest.mark.parametrize("after", State)
@pytest.mark.parametrize("before", State)
async def test_only_allowed_transitions_happen(before: State, after: State) -> None:
    health = health_in(before)
    reason = health.reason

    entered = health.become(after, "after")

    assert entered is ((before, after) in ALLOWED)
    assert (health.state, health.reason) == ((after, "after") if entered else (before, reason))


async def test_a_warm_up_that_fails_during_a_drain_does_not_end_the_drain() -> None:
    health = Health()
    health.become(State.DRAINING, "the server is about to stop")

    assert not health.become(State.FAILED, "warm-up failed")
    assert health.state is State.DRAINING


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(State)


@pytest.mark.parametrize(
    ("state", "ready", "serving"),
    [
        (State.LOADING, False, False),
        (State.FAILED, False, False),
        (State.READY, True, True),
        (State.DRAINING, False, True),
    ],
)
async def test_a_server_that_drains_answers_but_is_not_ready(state: State, ready: bool, serving: bool) -> None:
    health = health_in(state)

    for require, holds in ((health.require_ready, ready), (health.require_serving, serving)):
        if holds:
            require()
        else:
            with pytest.raises(NotReadyError, match=str(state)):
                require()


async def test_the_end_of_loading_is_waited_for() -> None:
    health = Health()
    waiting = asyncio.create_task(health.settle(60))
    await asyncio.sleep(0)

    health.become(State.LOADING, "the model is being loaded")
    await asyncio.sleep(0)
    assert not waiting.done()
    health.become(State.FAILED, "warm-up failed")

    await asyncio.wait_for(waiting, 10)
