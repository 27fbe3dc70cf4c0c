"""The memory that the operator grants, and the memory that the prepare step compares it with, are one table."""

from __future__ import annotations

import pytest

from keras_api import memory
from keras_api.memory import CONVERSION, CONVERTIBLE_SOURCE_BYTES, GIB, MIB, conversion_excess, prepare_bytes
from keras_operator.naming.sizing import prepare_mib

# One step of the operator's, which rounds up to whole MiB, up to the bound and at the bound itself.
CONVERTIBLE = [*range(0, CONVERTIBLE_SOURCE_BYTES, 7 * MIB), CONVERTIBLE_SOURCE_BYTES]


@pytest.mark.parametrize("runtime", CONVERSION)
def test_the_memory_that_the_operator_grants_for_a_file_suffices_for_each_conversion(runtime: str) -> None:
    for size in CONVERTIBLE:
        granted = prepare_mib(size) * MIB
        assert CONVERSION[runtime].of(size) <= granted, f"{size} bytes"
        assert conversion_excess(runtime, size, granted) is None, f"{size} bytes"


@pytest.mark.parametrize("runtime", CONVERSION)
def test_a_conversion_that_the_grant_does_not_cover_is_not_attempted(runtime: str) -> None:
    size = 2 * CONVERTIBLE_SOURCE_BYTES

    needed = conversion_excess(runtime, size, prepare_bytes(size))

    assert needed == CONVERSION[runtime].of(size)


def test_the_bound_of_a_conversion_is_the_documented_one() -> None:
    assert CONVERTIBLE_SOURCE_BYTES // MIB == 204


def test_a_small_model_is_converted_within_any_limit() -> None:
    assert conversion_excess("onnxruntime", 20 * MIB, 1) is None
    assert conversion_excess("onnxruntime", 20 * MIB + 1, 1) is not None


def test_a_conversion_is_attempted_where_there_is_no_limit() -> None:
    assert conversion_excess("onnxruntime", 100 * GIB, None) is None


def test_a_runtime_that_loads_the_export_needs_no_conversion() -> None:
    assert conversion_excess("tensorflow", 100 * GIB, 1) is None


@pytest.mark.parametrize(
    ("source_bytes", "mib"), [(0, 1536), (None, 1536 + 25 * 64), (100 * MIB, 4036), (GIB, 1536 + 5 * 1024 + 4096)]
)
def test_the_memory_of_a_prepare_job_grows_with_the_file(source_bytes: int | None, mib: int) -> None:
    assert prepare_mib(source_bytes) == mib


def test_the_memory_of_a_server_grows_with_its_weights() -> None:
    assert memory.serving_bytes("onnxruntime", 0) == 128 * MIB
    assert memory.serving_bytes("onnxruntime", MIB) == (128 + 4 * 5) * MIB
    assert memory.serving_bytes("tensorflow", MIB) == (768 + 4 * 6) * MIB
    assert memory.serving_bytes("of a later release", MIB) == memory.serving_bytes("onnxruntime", MIB)
