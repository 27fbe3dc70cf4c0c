"""What holds for all tests."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _leaks_are_found_where_they_are_made() -> Iterator[None]:
    """An unclosed socket fails the module that left it, not the one in which it happens to be collected."""
    yield
    gc.collect()
