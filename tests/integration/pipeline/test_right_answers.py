"""Values and sizes at which conversions go wrong, and models that accept special inputs only: the answers of Keras."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError
from keras_runtimes.arrays import string_array
from keras_runtimes.base import InvalidInputError
from keras_runtimes.bundle import open_bundle


@pytest.fixture(autouse=True)
def _seed():
    keras.utils.set_random_seed(1)


class Served:
    """A prepared model in the runtime that serves it."""

    def __init__(self, prepare_model, model, **request: Any) -> None:
        self.prepared = prepare_model(model, **request)
        self.summary = self.prepared.manifest.model
        self._runtime = open_bundle(self.prepared.folder).load(threads=1)

    def __call__(self, *arrays):
        inputs = {tensor.name: array for tensor, array in zip(self.summary.inputs, arrays, strict=True)}
        return self._runtime.run({k: string_array(a) if a.dtype.kind == "U" else a for k, a in inputs.items()})


@pytest.fixture
def served(prepare_model):
    return lambda model, **request: Served(prepare_model, model, **request)


def predict(model, *arrays):
    """What `model.predict` answers, as a list of arrays."""
    graph = tf.function(lambda *tensors: model(list(tensors) if len(tensors) > 1 else tensors[0], training=False))
    specs = [tf.TensorSpec([None, *array.shape[1:]], array.dtype) for array in arrays]
    return [
        answer.numpy() for answer in keras.tree.flatten(graph.get_concrete_function(*specs)(*map(tf.constant, arrays)))
    ]


def of(inputs, function):
    return keras.Model(inputs, function(inputs))


def integers(shape=(None,), dtype="int32"):
    return keras.Input(shape, dtype=dtype, name="x")


def floats(*shape):
    return keras.Input(shape, name="x")


SIGNED = np.array([[-7, -1, 0, 1, 7, -23, 23, -100]])
IDS = np.array([[-1, 0, 4, 5, -5, 99]])

EXACT = {
    "integer division by a positive number": (
        lambda: of(integers(), lambda x: ops.floor_divide(x, 3)),
        SIGNED,
        "int32",
    ),
    "integer division by a negative number": (
        lambda: of(integers(), lambda x: ops.floor_divide(x, -3)),
        SIGNED,
        "int32",
    ),
    "integer remainder": (lambda: of(integers(dtype="int64"), lambda x: ops.mod(x, 24)), SIGNED, "int64"),
    "hour of a timestamp before 1970": (
        lambda: of(integers(dtype="int64"), lambda x: ops.floor_divide(ops.mod(x, 86400), 3600)),
        np.array([[-1, -3600, -86399, 1_700_000_000]]),
        "int64",
    ),
    "remainder of numbers": (lambda: of(floats(None), lambda x: ops.mod(x, -3.0)), SIGNED + 0.25, "float32"),
    "one-hot": (lambda: of(integers(), lambda x: ops.one_hot(x, 5)), IDS, "int32"),
    "one-hot over an inner axis": (lambda: of(integers(), lambda x: ops.one_hot(x, 5, axis=1)), IDS, "int32"),
    "one-hot in whole numbers": (lambda: of(integers(), lambda x: ops.one_hot(x, 5, dtype="int32")), IDS, "int32"),
    "one-hot of bytes": (
        lambda: of(integers(dtype="uint8"), lambda x: ops.one_hot(x, 5)),
        np.array([[0, 4, 5, 255]]),
        "uint8",
    ),
    "category encoding": (
        lambda: of(integers(()), layers.CategoryEncoding(5, output_mode="one_hot")),
        np.array([-1, 0, 4]),
        "int32",
    ),
    "embedding of -1": (lambda: of(integers(), layers.Embedding(10, 3)), np.array([[-1, 0, 9, -10]]), "int32"),
    "argmax": (
        lambda: of(floats(4), lambda x: ops.argmax(x, -1)),
        np.array([[0, 3, 3, 1], [-0.0, 0, -0.0, -1]]),
        "float32",
    ),
    "exact GELU": (lambda: of(floats(4), layers.Activation("gelu")), np.array([[-3, -0.5, 0, 9]]), "float32"),
    "softplus in float16": (
        lambda: of(keras.Input((4,), dtype="float16", name="x"), lambda x: ops.softplus(x)),
        np.array([[255, -255, 0, 1]]),
        "float16",
    ),
    "a choice beside an infinity": (
        lambda: of(floats(3), lambda x: ops.where(x > 0, x, -np.inf)),
        np.array([[1, -1, 1e20]]),
        "float32",
    ),
    "a choice of a branch beside NaN": (lambda: of(floats(3), ops.sinc), np.array([[0, 1e-3, 2.5]]), "float32"),
    "a choice of truth values": (
        lambda: of(floats(3), lambda x: ops.where(x > 0, x > 1, x < -1)),
        np.array([[0.5, 2, -2]]),
        "float32",
    ),
    "grouped convolution": (
        lambda: of(floats(None, None, 8), layers.Conv2D(4, 3, groups=2)),
        np.linspace(-1, 1, 2 * 9 * 7 * 8).reshape(2, 9, 7, 8),
        "float32",
    ),
    "bilinear resizing of bytes": (
        lambda: of(keras.Input((8, 9, 3), dtype="uint8", name="x"), layers.Resizing(5, 7)),
        np.arange(216).reshape(1, 8, 9, 3),
        "uint8",
    ),
}


LARGE = {
    "int32": ([2**31 - 1, -(2**31), 2**24 + 1, 5, -7], [2**31 - 2, -(2**31) + 1, 2**24, 5, 7]),
    "int64": ([2**63 - 1, -(2**63), 2**31, -5, 2**53 + 1], [2**63 - 2, -(2**63) + 1, 2, 2**31, 2**53]),
}
OF_TWO = ("greater", "greater_equal", "less", "less_equal", "equal", "maximum", "minimum")
OF_ONE = ("sign", "relu", "relu6", "square", "sort", "argsort", "abs")


@pytest.mark.parametrize("dtype", LARGE)
def test_large_integers_are_exact(dtype, served):
    x, y = integers((5,), dtype), keras.Input((5,), dtype=dtype, name="y")
    outputs = {name: getattr(ops, name)(x, y) for name in OF_TWO} | {name: getattr(ops, name)(x) for name in OF_ONE}
    top, places = ops.top_k(x, 3)
    outputs |= {"clip": ops.clip(x, 0, 6), "power": ops.power(x, 3), "top": top, "places": places}
    model = keras.Model([x, y], outputs)
    values = [np.array([each], dtype) for each in LARGE[dtype]]
    answers = served(model, runtime="onnxruntime")(*values)
    for name, expected in zip(sorted(outputs), predict(model, *values), strict=True):
        np.testing.assert_array_equal(answers[name], expected, err_msg=name)


@pytest.mark.parametrize(("build", "values", "dtype"), EXACT.values(), ids=EXACT)
def test_onnx_runtime_answers_like_keras_at_the_edges(build, values, dtype, served):
    model, values = build(), values.astype(dtype)
    answers = served(model, runtime="onnxruntime")(values)
    for expected, actual in zip(predict(model, values), answers.values(), strict=True):
        assert actual.dtype == expected.dtype
        np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-6)


def test_the_logarithm_of_one_plus_a_small_number_keeps_its_digits(served):
    x = np.array([[1e-7, -1e-7, 0, -1, 1e30, 0.5]], "float32")
    (actual,) = served(of(floats(6), ops.log1p), runtime="onnxruntime")(x).values()
    with np.errstate(divide="ignore"):
        np.testing.assert_allclose(actual, np.log1p(x), rtol=1e-6)


def test_a_feature_that_needs_positive_numbers_is_served_by_onnx_runtime(served):
    x = floats(4)
    model = served(keras.Model(x, layers.Dense(1)(layers.Dense(8, activation="relu")(ops.log(x)))))
    assert model.summary.runtime == "onnxruntime"


def test_the_ids_of_invented_inputs_do_not_limit_the_size_of_another_input(served):
    nodes, edges = floats(None, 4), keras.Input((2, None), dtype="int32", name="edges")
    ends = ops.take_along_axis(nodes, ops.expand_dims(edges[:, 0], -1), axis=1)
    assert served(keras.Model([nodes, edges], ops.sum(ends, 1))).summary.inputs[0].min_shape == [1, 1, 4]


def test_exp_minus_one_keeps_the_digits_of_small_numbers(served):
    x = np.array([[1e-7, -1e-7, 88, -100]], "float32")
    (actual,) = served(of(floats(4), ops.expm1), runtime="onnxruntime")(x).values()
    np.testing.assert_allclose(actual, np.expm1(x), rtol=1e-6)


@pytest.mark.parametrize("value", [-20, 10, 1_000_003])
def test_an_id_that_keras_rejects_is_rejected(value, served):
    model = served(of(integers(), layers.Embedding(10, 3)), runtime="onnxruntime")
    with pytest.raises(InvalidInputError):
        model(np.array([[0, value]], "int32"))


@pytest.mark.parametrize("divisor", [0, -1])
def test_an_integer_division_that_can_fail_is_left_to_tensorflow(divisor, served):
    x, y = integers((2,)), keras.Input((2,), dtype="int32", name="y")
    model = served(keras.Model([x, y], ops.floor_divide(x, y)))
    assert model.summary.runtime == "tensorflow"
    if divisor:
        (answer,) = model(np.array([[7, -7]], "int32"), np.full((1, 2), divisor, "int32")).values()
        assert answer.tolist() == [[-7, 7]]
    else:
        with pytest.raises(InvalidInputError, match="division by zero"):
            model(np.array([[7, -7]], "int32"), np.full((1, 2), divisor, "int32"))


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear"])
@pytest.mark.parametrize("target", [32, 48, 96, 224, 299])
def test_resizing_takes_the_pixels_of_keras_for_every_size(interpolation, target, served):
    layer = layers.Resizing(target, target, interpolation=interpolation)
    model = served(of(floats(None, None, 1), layer), runtime="onnxruntime")
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec([None, None, None, 1]))
    for size in range(8, 513):
        row = np.arange(size, dtype="float32") / size
        # One axis at a time: the other one is the target's, so that each of its pixels stays.
        for image in (np.tile(row[:, None], (1, 2)), np.tile(row, (2, 1))):
            picture = image[None, ..., None]
            (actual,) = model(picture).values()
            np.testing.assert_array_equal(actual, graph(tf.constant(picture)).numpy(), err_msg=f"{size} to {target}")


def test_a_crop_larger_than_the_picture_is_outside_the_accepted_sizes(served):
    model = served(of(floats(None, None, 3), layers.CenterCrop(20, 24)))
    (image,) = model.summary.inputs
    assert image.min_shape == [1, 20, 24, 3]
    (actual,) = model(np.ones((1, 24, 30, 3), "float32")).values()
    assert actual.shape == (1, 20, 24, 3)


def audio():
    x = floats(None, 1)
    y = layers.MaxPooling1D(4)(layers.Conv1D(8, 80, strides=4, activation="relu")(x))
    y = layers.MaxPooling1D(4)(layers.Conv1D(8, 3, activation="relu")(y))
    return keras.Model(x, layers.Dense(4)(layers.GlobalAveragePooling1D()(y)))


def photo():
    x = y = floats(None, None, 3)
    for _ in range(5):
        y = layers.Conv2D(4, 3, strides=2, activation="relu")(y)
    return keras.Model(x, layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 2)(y))))


def at_most_twenty():
    x = integers()
    place = ops.cumsum(ops.ones_like(x), axis=1) - 1
    return keras.Model(
        x, layers.Dense(3)(layers.GlobalAveragePooling1D()(layers.Embedding(50, 8)(x) + layers.Embedding(20, 8)(place)))
    )


def whole_blocks():
    """A model that halves a picture and joins the halves' doubles to it, so it takes multiples of two pixels."""
    x = floats(None, None, 3)
    return keras.Model(x, layers.Concatenate()([x, layers.UpSampling2D(2)(layers.MaxPooling2D(2)(x))]))


def multiples_of_seven():
    x = floats(None, 4)
    return keras.Model(x, layers.GlobalAveragePooling1D()(layers.Reshape((-1, 28))(x)))


def frames():
    """A model of frames of 160 samples, which accepts neither one sample nor 161."""
    x = floats(None)
    return keras.Model(x, layers.GlobalAveragePooling1D()(layers.Dense(3)(layers.Reshape((-1, 160))(x))))


def two_lengths():
    """An encoder of at most twenty tokens, and a decoder of at most fifty."""

    def embedded(tokens, length):
        place = ops.cumsum(ops.ones_like(tokens), axis=1) - 1
        return layers.Embedding(50, 8)(tokens) + layers.Embedding(length, 8)(place)

    x, y = integers(), keras.Input((None,), dtype="int32", name="y")
    return keras.Model([x, y], layers.Dense(3)(layers.MultiHeadAttention(2, 4)(embedded(y, 50), embedded(x, 20))))


def test_each_input_has_sizes_of_its_own(served):
    assert [tensor.max_shape for tensor in served(two_lengths()).summary.inputs] == [[-1, 20], [-1, 50]]


SIZES = {
    "frames of 160 samples": (frames, [1, 1], [-1, -1]),
    "multiples of seven days": (multiples_of_seven, [1, 7, 4], [-1, -1, 4]),
    "audio of any length": (audio, [1, 172, 1], [-1, -1, 1]),
    "pictures from 95 pixels a side": (photo, [1, 95, 95, 3], [-1, -1, -1, 3]),
    "at most twenty tokens": (at_most_twenty, [1, 1], [-1, 20]),
    "an even number of pixels": (whole_blocks, [1, 2, 2, 3], [-1, -1, -1, 3]),
}


@pytest.mark.parametrize(("build", "smallest", "largest"), SIZES.values(), ids=SIZES)
def test_the_accepted_sizes_are_found_by_running_the_model(build, smallest, largest, served):
    (tensor,) = served(build()).summary.inputs
    assert (tensor.min_shape, tensor.max_shape) == (smallest, largest)


def shifted_ids():
    """Ids that reach their table by arithmetic, and begin with one."""
    x = integers((3,))
    return keras.Model(x, layers.Flatten()(layers.Embedding(7, 2)(x - 1)))


def closed_vocabulary():
    x = keras.Input((1,), dtype="string", name="x")
    return keras.Model(x, layers.StringLookup(vocabulary=["a", "b"], num_oov_indices=0, output_mode="one_hot")(x))


def positive_only():
    return of(floats(3), lambda x: ops.log(x - 1.0) + 0.0 * ops.sqrt(2.0 - x))


@pytest.mark.parametrize("build", [shifted_ids, closed_vocabulary, positive_only])
def test_inputs_that_the_model_rejects_are_replaced_by_others(build, served):
    assert served(build()).summary.runtime in ("onnxruntime", "tensorflow")


def test_a_model_that_runs_on_no_input_is_rejected_with_the_field_that_helps(prepare_model):
    x = integers((2,))
    y = layers.Embedding(3, 2)(x + 1_000)
    with pytest.raises(PrepareError, match=r"inputs of shape x \[7, 2\]: .*spec.validation.data") as failure:
        prepare_model(keras.Model(x, layers.Flatten()(y)))
    assert failure.value.reason == Reason.MODEL_UNSUPPORTED


def test_validation_rows_replace_the_invented_inputs(served):
    x = floats(2)
    y = layers.Embedding(3, 2)(ops.cast(x - 1_000, "int32"))
    model = served(keras.Model(x, layers.Dense(2)(layers.Flatten()(y))), csv="label,a,b\n0,1000,1001\n1,1002,1000\n")
    assert model.summary.parity.rows == 32


def masked_actions():
    state, allowed = floats(4), keras.Input((3,), dtype="bool", name="allowed")
    return keras.Model([state, allowed], ops.where(allowed, layers.Dense(3)(state), -np.inf))


def big_scale():
    x = floats(16, 16, 3)
    y = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    return keras.Model(x, layers.Rescaling(5000.0)(layers.Conv2D(1, 1)(y)))


def no_name():
    x = floats(4)
    return keras.Model(x, {"": layers.Dense(2)(x)})


def bfloat16():
    return keras.Sequential([floats(12), layers.Dense(8, activation="relu", dtype="bfloat16"), layers.Dense(3)])


def channels_first():
    x = floats(3, 16, 16)
    y = layers.Conv2D(4, 3, data_format="channels_first", activation="relu")(x)
    return keras.Model(x, layers.GlobalAveragePooling2D(data_format="channels_first")(y))


def declared_sparse():
    """Keras declares the product of a number and a dense tensor as sparse."""
    return of(floats(4), lambda x: 2.0 * x)


def upper_case():
    x = keras.Input((4,), name="MyAge")
    return keras.Model(x, layers.Dense(2, name="MyScore")(x))


SERVED = {
    "a product that Keras declares sparse": (declared_sparse, "onnxruntime"),
    "names in upper case": (upper_case, "onnxruntime"),
    "the largest two numbers": (lambda: of(floats(5), lambda x: ops.top_k(x, 2)[0]), "onnxruntime"),
    "minus infinity for what is not allowed": (masked_actions, "onnxruntime"),
    "a map of scale 5000": (big_scale, "onnxruntime"),
    "an output without a name": (no_name, "onnxruntime"),
    "bfloat16": (bfloat16, "tensorflow"),
    "channels first": (channels_first, "onnxruntime"),
}


@pytest.mark.parametrize(("build", "runtime"), SERVED.values(), ids=SERVED)
def test_models_that_a_server_would_refuse_are_served(build, runtime, served):
    model = served(build())
    assert model.summary.runtime == runtime
    assert all(tensor.name for tensor in model.summary.outputs)


def test_outputs_have_the_types_and_ranks_that_keras_answers(served):
    x = floats(4)
    kinds = layers.StringLookup(vocabulary=["a", "b", "c"], num_oov_indices=0, invert=True)
    text = layers.TextVectorization(output_mode="multi_hot")
    text.adapt(["the cat sat", "the dog ran home"])
    named = served(keras.Model(x, {"kind": kinds(ops.argmax(layers.Dense(3)(x), -1))}))
    sentence = keras.Input((1,), dtype="string", name="x")
    counted = served(keras.Model(sentence, layers.Dense(2)(text(sentence))))
    assert [(tensor.dtype, tensor.shape) for tensor in named.summary.outputs] == [("string", [-1])]
    assert [(tensor.dtype, tensor.shape) for tensor in counted.summary.outputs] == [("float32", [-1, 2])]


def batch_softmax():
    return of(floats(4), lambda x: ops.softmax(layers.Dense(2, name="d")(x), axis=0))


def test_rows_that_depend_on_each_other_are_rejected_by_name(prepare_model):
    with pytest.raises(
        PrepareError, match=r"depends on the other rows.*spec.serving.rowsIndependent to false"
    ) as failure:
        prepare_model(batch_softmax())
    assert failure.value.reason == Reason.MODEL_UNSUPPORTED


def test_rows_that_depend_on_each_other_are_served_one_at_a_time(served):
    model = served(batch_softmax(), rows_independent=False)
    assert not model.summary.rows_independent
    assert model.summary.parity.rows == 1 + 7 + 8  # single rows
    (answer,) = model(np.ones((1, 4), "float32")).values()
    np.testing.assert_array_equal(answer, [[1, 1]])


def test_an_overflow_in_half_precision_is_reported(served):
    model = keras.Sequential(
        [floats(4), layers.Dense(3, dtype="mixed_float16"), layers.Activation("relu", dtype="float32")]
    )
    summary = served(model).summary
    assert summary.half_precision
    assert (summary.runtime, len(summary.warnings)) == ("onnxruntime", 1)
    assert "overflow in half precision" in summary.warnings[0]


def test_a_call_that_differs_from_predict_is_reported(served):
    x = keras.Input((24, 32, 3), dtype="uint8", name="x")
    summary = served(keras.Model(x, layers.Resizing(16, 16)(x))).summary
    assert [warning[:48] for warning in summary.warnings] == ["Keras answers model(x) otherwise than model.pred"]


def test_weights_with_an_infinity_are_named(prepare_model):
    model = keras.Sequential([floats(4), layers.Dense(2, name="y")])
    model.layers[0].bias.assign([0.0, np.inf])
    with pytest.raises(PrepareError, match="weight 'y/bias'"):
        prepare_model(model)
