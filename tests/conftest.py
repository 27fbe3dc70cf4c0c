"""Settings of all tests."""

from __future__ import annotations

import gc
import resource
from collections.abc import Iterator

import pytest

# More than any test needs. A hostile model that is not rejected fails its test and does not affect the machine.
MAX_BYTES = 8 << 30


def pytest_configure() -> None:
    """Limit the memory of the tests and of their child processes."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))


@pytest.fixture(scope="module", autouse=True)
def _leaks_fail_their_own_module() -> Iterator[None]:
    """An unclosed socket fails the module that opened it, not the module in which it is collected."""
    yield
    gc.collect()
