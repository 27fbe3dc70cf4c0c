"""The lists that a runtime appears in agree with each other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import get_args

import keras_pipeline.converters
from keras_api import memory
from keras_api.resource.serving import Runtime
from keras_runtimes.registry import RUNTIMES

CONVERTERS = Path(keras_pipeline.converters.__file__).parent


def test_each_runtime_that_a_resource_may_name_is_registered() -> None:
    assert set(RUNTIMES) == set(get_args(Runtime))


def test_each_runtime_has_a_converter_of_the_same_name() -> None:
    assert {path.stem for path in CONVERTERS.glob("*.py")} - {"__init__", "base"} == set(RUNTIMES)


def test_each_runtime_has_the_memory_of_its_server() -> None:
    assert set(memory.SERVING) == set(RUNTIMES)
    assert set(memory.CONVERSION) <= set(RUNTIMES)


def test_no_runtime_is_imported_before_a_model_is_loaded() -> None:
    program = (
        "import sys, keras_runtimes.registry\n"
        "assert not {'tensorflow', 'onnxruntime'} & set(sys.modules), 'a runtime is imported too early'"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
