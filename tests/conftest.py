"""What holds for all tests."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator

import pytest

# What no test needs. A hostile model that is not refused then fails its test, and does not take the machine with it.
MAX_BYTES = 8 << 30


def pytest_configure() -> None:
    """Bound the memory of the tests and of all that they start."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))


@pytest.fixture(scope="module", autouse=True)
def _leaks_are_found_where_they_are_made() -> Iterator[None]:
    """An unclosed socket fails the module that left it, not the one in which it happens to be collected."""
    yield
    gc.collect()
