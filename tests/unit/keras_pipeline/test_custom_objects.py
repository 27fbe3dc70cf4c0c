"""Checks of the files with custom objects that need no Keras. The import of the code is an integration test."""

from __future__ import annotations

import pytest

from keras_api.reasons import Reason
from keras_pipeline.custom_objects import load_custom_objects
from keras_pipeline.errors import PrepareError


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], "contains no Python file"),
        (["README.md"], "contains no Python file"),
        (["own-layers.py"], "own-layers.py"),
        (["json.py"], "json.py"),
        (["own.py", "numpy.py"], "numpy.py"),
    ],
)
def test_the_error_names_a_file_that_cannot_be_a_module(tmp_path, names, words):
    for name in names:
        (tmp_path / name).write_text("raise AssertionError('imported')")
    with pytest.raises(PrepareError) as error:
        load_custom_objects(tmp_path, {})
    assert error.value.reason == Reason.MODEL_UNSUPPORTED
    assert words in error.value.message
    assert "spec.source.customObjects" in error.value.message
