"""Golden rows are written in the format that a server reads."""

from __future__ import annotations

import numpy as np

from keras_pipeline import golden


def test_arrays_of_all_types_and_names_are_stored_without_pickles(tmp_path):
    inputs = {"text": np.array([["grün"], ["日本"]]), "file": np.float16([1.5]), "a/b": np.array([True])}
    outputs = {"text": np.array([[0.1, 0.9]], "float32")}
    golden.write(tmp_path / "golden.npz", inputs, outputs)
    with np.load(tmp_path / "golden.npz", allow_pickle=False) as found:
        arrays = {name: found[name] for name in found}
    assert sorted(arrays) == ["input:a/b", "input:file", "input:text", "output:text"]
    assert arrays["input:text"].tolist() == [["grün"], ["日本"]]
    assert arrays["input:file"].dtype == "float16"
