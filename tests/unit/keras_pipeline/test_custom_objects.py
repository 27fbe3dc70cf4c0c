"""Files with code of the model's own are refused by name before Keras is imported; the rest is an integration test."""

from __future__ import annotations

import pytest

from keras_api.reasons import Reason
from keras_pipeline.custom_objects import load
from keras_pipeline.errors import PrepareError


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "holds no Python file"),
        (["README.md"], "holds no Python file"),
        (["own-layers.py"], "own-layers.py"),
        (["json.py"], "json.py"),
        (["own.py", "numpy.py"], "numpy.py"),
    ],
)
def test_a_file_that_cannot_be_a_module_of_its_own_is_named(tmp_path, names, words):
    for name in names:
        (tmp_path / name).write_text("raise AssertionError('imported')")
    with pytest.raises(PrepareError) as error:
        load(tmp_path, {})
    assert error.value.reason == Reason.MODEL_UNSUPPORTED
    assert words in error.value.message
    assert "spec.source.customObjects" in error.value.message
