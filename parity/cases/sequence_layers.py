"""Layers of keras.layers on sequences and tables: embeddings, recurrent layers, attention, lookups, sound, pictures."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from keras import layers

from parity.build import pictures, whole
from parity.cases.basic_layers import lay
from parity.cases.nn_ops import NO_EMPTY
from parity.model import Case, InputSpec, Probe

Function = Callable[..., Any]
EDGES = ("zero", "large", "NaN", "infinity")
STEPS = ((None, 4),)
VOCABULARY = ["a", "b", "c", "d"]


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _embeddings()
    yield from _recurrent()
    yield from _attention()
    yield from _categories()
    yield from _lookups()
    yield from _sound()
    yield from _pictures()


def _embeddings() -> Iterator[Case]:
    for name in ("Embedding", "ReversibleEmbedding"):
        layer = getattr(layers, name)
        for dtype in ("int32", "int64", "uint8", "float32"):
            yield whole(f"layers.{name}", dtype, lay(layer, 6, 3), ((None,),), (dtype,), ids={0: 6})
        pooled = lambda x, make=layer: layers.GlobalAveragePooling1D()(make(6, 3, mask_zero=True)(x))  # noqa: E731
        yield whole(f"layers.{name}", "mask_zero, pooled", pooled, ((None,),), ("int32",), ids={0: 6}, extra=_padded)
        plain = lambda x, make=layer: layers.GlobalAveragePooling1D()(make(6, 3)(x))  # noqa: E731
        yield whole(f"layers.{name}", "pooled", plain, ((None,),), ("int32",), ids={0: 6})
        yield whole(
            f"layers.{name}",
            "into LSTM, mask_zero",
            lambda x, m=layer: layers.LSTM(3)(m(6, 3, mask_zero=True)(x)),
            ((None,),),
            ("int32",),
            ids={0: 6},
            extra=_padded,
        )
    yield whole("layers.ReversibleEmbedding", "reverse", _reversed, ((3,),), kinds=EDGES)
    for mode in ("int8", "int4"):
        yield whole("layers.Embedding", f"quantized to {mode}", _quantized(mode), ((4,),), ("int32",), ids={0: 6})


def _padded() -> list[Probe]:
    """Sequences that are padded, at the end, at the front and inside, and one that is only padding."""
    return [Probe("padding", (np.array([[1, 2, 0, 0], [0, 0, 3, 4], [1, 0, 2, 0], [0, 0, 0, 0]], "int32"),))]


def _reversed(x: Any) -> Any:
    layer = layers.ReversibleEmbedding(6, 3)
    layer.build((None, None))
    return layer(x, reverse=True)


def _quantized(mode: str) -> Function:
    def function(x: Any) -> Any:
        layer = layers.Embedding(6, 4)
        layer(x)
        layer.quantize(mode)
        return layer(x)

    return function


def _recurrent() -> Iterator[Case]:
    for name in ("SimpleRNN", "GRU", "LSTM"):
        layer = getattr(layers, name)
        variants: list[dict[str, Any]] = [
            {},
            {"return_sequences": True},
            {"go_backwards": True},
            {"go_backwards": True, "return_sequences": True},
            {"return_sequences": True, "return_state": True},
            {"unroll": True},
            {"activation": "relu"},
            {"use_bias": False},
            {"dtype": "mixed_float16"},
            *([{"reset_after": False}, {"recurrent_activation": "hard_sigmoid"}] if name == "GRU" else []),
        ]
        for options in variants:
            words = ", ".join(f"{key}={value}" for key, value in options.items()) or "default"
            shape: Any = ((5, 4),) if "unroll" in options else STEPS
            yield whole(
                f"layers.{name}", words, lay(layer, 3, **options), shape, kinds=EDGES if not options else ("zero",)
            )
        for sequences in (False, True):
            masked = lambda x, make=layer, s=sequences: make(3, return_sequences=s)(layers.Masking()(x))  # noqa: E731
            yield whole(f"layers.{name}", f"masked, sequences={sequences}", masked, STEPS, kinds=(), extra=_masked)
        zeroed = lambda x, make=layer: make(3, return_sequences=True, zero_output_for_mask=True)(layers.Masking()(x))  # noqa: E731
        yield whole(f"layers.{name}", "masked, zero_output_for_mask", zeroed, STEPS, kinds=(), extra=_masked)
        for mode in ("concat", "sum", "ave", "mul", None):
            both = lambda x, make=layer, m=mode: layers.Bidirectional(make(3, return_sequences=True), merge_mode=m)(x)  # noqa: E731
            yield whole("layers.Bidirectional", f"{name}, {mode}", both, STEPS, kinds=())
        masked_both = lambda x, make=layer: layers.Bidirectional(make(3))(layers.Masking()(x))  # noqa: E731
        yield whole("layers.Bidirectional", f"{name}, masked", masked_both, STEPS, kinds=(), extra=_masked)
        cell = getattr(layers, f"{name}Cell")
        yield whole(f"layers.{name}Cell", "in RNN", lambda x, c=cell: layers.RNN(c(3))(x), STEPS, kinds=EDGES)
        yield whole(
            "layers.RNN",
            f"{name}Cell, sequences",
            lambda x, c=cell: layers.RNN(c(3), return_sequences=True)(x),
            STEPS,
            kinds=(),
        )
        yield whole(
            "layers.StackedRNNCells", f"two {name}Cell", lambda x, c=cell: layers.RNN([c(3), c(2)])(x), STEPS, kinds=()
        )
        initial = lambda x, h, make=layer: make(3)(x, initial_state=[h, h] if make is layers.LSTM else h)  # noqa: E731
        yield whole(f"layers.{name}", "initial_state", initial, (*STEPS, (3,)), kinds=())
    for name, shape in (("ConvLSTM1D", (3, 8, 2)), ("ConvLSTM2D", (3, 6, 6, 2)), ("ConvLSTM3D", (3, 4, 4, 4, 2))):
        layer = getattr(layers, name)
        for padding, sequences in itertools.product(("valid", "same"), (False, True)):
            function = lay(layer, 2, 3, padding=padding, return_sequences=sequences)
            yield whole(f"layers.{name}", f"{padding}, sequences={sequences}", function, (shape,), kinds=())
        free: Any = ((None, *shape[1:]),)
        yield whole(f"layers.{name}", "free steps", lay(layer, 2, 3), free, kinds=(), each=(1, 4))
    yield whole(
        "layers.TimeDistributed",
        "Dense, fixed",
        lambda x: layers.TimeDistributed(layers.Dense(3))(x),
        ((5, 4),),
        kinds=EDGES,
    )
    yield whole(
        "layers.TimeDistributed",
        "Dense, free steps",
        lambda x: layers.TimeDistributed(layers.Dense(3))(x),
        STEPS,
        kinds=(),
    )
    convolution = lambda x: layers.TimeDistributed(layers.Conv2D(2, 3))(x)  # noqa: E731
    yield whole("layers.TimeDistributed", "Conv2D, fixed", convolution, ((3, 6, 6, 2),), kinds=())
    yield whole(
        "layers.TimeDistributed", "Conv2D, free steps", convolution, ((None, 6, 6, 2),), kinds=(), each=(1, 3, 6)
    )
    pooled = lambda x: layers.TimeDistributed(layers.GlobalAveragePooling1D())(x)  # noqa: E731
    yield whole("layers.TimeDistributed", "pooling, free steps", pooled, ((None, 6, 2),), kinds=(), each=(1, 3, 6))


def _masked() -> list[Probe]:
    steps = np.random.default_rng(6).normal(size=(4, 5, 4)).astype("float32")
    steps[0, 3:], steps[1, :2], steps[2, 2], steps[3] = 0, 0, 0, 0
    return [Probe("masked steps", (steps,))]


def _attention() -> Iterator[Case]:
    three = [(None, 4)] * 3
    for name in ("Attention", "AdditiveAttention"):
        layer = getattr(layers, name)
        yield whole(f"layers.{name}", "query, value", lay(layer), three[:2], kinds=EDGES)
        yield whole(f"layers.{name}", "use_scale", lay(layer, use_scale=True), three, kinds=())
        causal = lambda q, v, make=layer: make()([q, v], use_causal_mask=True)  # noqa: E731
        yield whole(f"layers.{name}", "causal", causal, three[:2], kinds=())
    yield whole(
        "layers.Attention", "score_mode=concat", lay(layers.Attention, score_mode="concat"), three[:2], kinds=()
    )
    for flash in (None, False):
        words = f"flash_attention={flash}"
        multi = lambda q, v, f=flash: layers.MultiHeadAttention(2, 4, flash_attention=f)(q, v)  # noqa: E731
        yield whole("layers.MultiHeadAttention", words, multi, three[:2], kinds=EDGES, each=NO_EMPTY)
        group = lambda q, v, f=flash: layers.GroupQueryAttention(4, 4, 2, flash_attention=f)(q, v)  # noqa: E731
        yield whole("layers.GroupQueryAttention", words, group, three[:2], kinds=EDGES, each=NO_EMPTY)
    makers: dict[str, Function] = {
        "MultiHeadAttention": lambda **options: layers.MultiHeadAttention(2, 4, **options),
        "GroupQueryAttention": lambda **options: layers.GroupQueryAttention(4, 4, 2, **options),
    }
    for name, make in makers.items():
        for window in (None, 2):
            causal = lambda x, m=make, w=window: m(sliding_window=w)(x, x, use_causal_mask=True)  # noqa: E731
            yield whole(f"layers.{name}", f"causal, sliding_window={window}", causal, STEPS, kinds=(), each=NO_EMPTY)
        masked = lambda x, mask, m=make: m()(x, x, attention_mask=mask[:, None, :])  # noqa: E731
        yield whole(f"layers.{name}", "attention_mask", masked, ((5, 4), (5,)), ("float32", "bool"), kinds=())
        embedded = lambda x, m=make: m()(*[layers.Embedding(6, 4, mask_zero=True)(x)] * 2)  # noqa: E731
        yield whole(
            f"layers.{name}",
            "after Embedding, mask_zero",
            embedded,
            ((None,),),
            ("int32",),
            ids={0: 6},
            extra=_padded,
            each=NO_EMPTY,
        )
        yield whole(
            f"layers.{name}",
            "mixed_float16",
            lambda x, m=make: m(dtype="mixed_float16")(x, x),
            STEPS,
            kinds=("large",),
            each=NO_EMPTY,
        )
        yield whole(
            f"layers.{name}", "scores", lambda x, m=make: m()(x, x, return_attention_scores=True), STEPS, kinds=()
        )
    yield whole(
        "layers.MultiHeadAttention",
        "attention_axes=(1, 2)",
        lambda x: layers.MultiHeadAttention(2, 3, attention_axes=(1, 2))(x, x),
        ((3, 4, 4),),
        kinds=(),
    )


def _categories() -> Iterator[Case]:
    for mode in ("multi_hot", "one_hot", "count"):
        for dtype in ("int32", "int64", "uint8"):
            shape: Any = ((1,),) if mode == "one_hot" else ((None,),)
            function = lay(layers.CategoryEncoding, 5, output_mode=mode)
            yield whole("layers.CategoryEncoding", f"{mode}, {dtype}", function, shape, (dtype,), ids={0: 5})
        weighted = lambda x, w: layers.CategoryEncoding(5, output_mode="count")(x, count_weights=w)  # noqa: E731
        if mode == "count":
            yield whole(
                "layers.CategoryEncoding",
                "count_weights",
                weighted,
                ((4,), (4,)),
                ("int32", "float32"),
                ids={0: 5},
                kinds=(),
            )
    for mode in ("int", "one_hot", "multi_hot", "count"):
        for dtype in ("float32", "int32"):
            function = lay(layers.Discretization, [-2.0, 0.0, 1.0, 10.0], output_mode=mode)
            shape = ((1,),) if mode == "one_hot" else ((None,),)
            yield whole(
                "layers.Discretization", f"{mode}, {dtype}", function, shape, (dtype,), extra=_bins(dtype, shape)
            )


def _bins(dtype: str, shape: Any) -> Callable[[], list[Probe]]:
    values = np.array([-2.0, 0.0, 1.0, 10.0, -2.5, 9.5, 11.0, -0.0], dtype)
    return lambda: [Probe("borders", (values[:, None] if shape == ((1,),) else values[None],))]


def _words(layer: str, variant: str, function: Function, words: Sequence[Sequence[Any]], dtype: str = "string") -> Case:
    """A case whose input is a table of words or integers; each row has the same length."""
    array = np.array(words) if dtype == "string" else np.array(words, dtype)

    def probes() -> list[Probe]:
        made = [Probe("values", (array,)), Probe("one row", (array[:1],))]
        return [*made, *(Probe(f"value {row[0]}", (array[index : index + 1],)) for index, row in enumerate(words))]

    return Case(f"layers.{layer}", variant, (InputSpec((len(words[0]),), dtype),), function, probes)


def _lookups() -> Iterator[Case]:
    texts = [["a"], ["b"], ["d"], ["not in it"], [""], ["A"], ["ä"], ["[UNK]"]]
    numbers = [[10], [20], [40], [5], [0], [-1], [-10], [2**31 - 1]]
    for mode, slots in itertools.product(("int", "one_hot", "multi_hot", "count"), (0, 1, 2)):
        words = f"{mode}, num_oov_indices={slots}"
        options: dict[str, Any] = {"output_mode": mode, "num_oov_indices": slots}
        yield _words("StringLookup", words, lay(layers.StringLookup, vocabulary=VOCABULARY, **options), texts)
        for dtype in ("int64", "int32"):
            function = lay(layers.IntegerLookup, vocabulary=[10, 20, 30, 40], **options)
            yield _words("IntegerLookup", f"{words}, {dtype}", function, numbers, dtype)
    masked = lay(layers.StringLookup, vocabulary=VOCABULARY, mask_token="")
    yield _words("StringLookup", "mask_token", masked, texts)
    yield _words(
        "IntegerLookup", "mask_token", lay(layers.IntegerLookup, vocabulary=[10, 20], mask_token=0), numbers, "int64"
    )
    inverted = lay(layers.StringLookup, vocabulary=VOCABULARY, invert=True)
    yield _words("StringLookup", "invert", inverted, [[0], [1], [4], [5], [-1]], "int64")
    back = lay(layers.IntegerLookup, vocabulary=[10, 20, 30, 40], invert=True)
    yield _words("IntegerLookup", "invert", back, [[0], [1], [4], [5], [-1]], "int64")
    weights = [0.5, 0.25, 2.0, 1.0]
    yield _words(
        "StringLookup",
        "tf_idf",
        lay(layers.StringLookup, vocabulary=VOCABULARY, output_mode="tf_idf", idf_weights=weights),
        texts,
    )
    for salt, mask in itertools.product((None, 7), (None, "")):
        hashing = lay(layers.Hashing, 5, salt=salt, mask_value=mask)
        yield _words("Hashing", f"salt={salt}, mask_value={mask!r}", hashing, texts)
    for mode in ("int", "one_hot", "multi_hot", "count"):
        yield _words("Hashing", f"int64, {mode}", lay(layers.Hashing, 5, output_mode=mode), numbers, "int64")
    crossed = lambda x, y: layers.HashedCrossing(5)((x, y))  # noqa: E731
    yield whole("layers.HashedCrossing", "int", crossed, ((1,), (1,)), ("string", "string"))
    yield whole("layers.HashedCrossing", "int64", crossed, ((1,), (1,)), ("int64", "int64"), kinds=("negative", "huge"))
    hot = lambda x, y: layers.HashedCrossing(5, output_mode="one_hot")((x, y))  # noqa: E731
    yield whole("layers.HashedCrossing", "one_hot", hot, ((1,), (1,)), ("string", "string"))
    sentences = [["a b c"], ["B, c! d?"], [""], ["  "], ["ä é a"], ["nothing known here"], ["a a a b"]]
    for mode in ("int", "multi_hot", "count", "tf_idf"):
        options = {"idf_weights": weights} if mode == "tf_idf" else {}
        function = lay(layers.TextVectorization, vocabulary=VOCABULARY, output_mode=mode, **options)
        yield _words("TextVectorization", mode, function, sentences)
    for name, options in {
        "standardize=None": {"standardize": None},
        "split=character": {"split": "character"},
        "ngrams=2": {"ngrams": 2},
        "output_sequence_length=4": {"output_sequence_length": 4},
    }.items():
        function = lay(layers.TextVectorization, vocabulary=VOCABULARY, **options)
        yield _words("TextVectorization", name, function, sentences)


def _sound() -> Iterator[Case]:
    sound: Any = {"kinds": (), "free": 120, "each": (64, 100)}
    for mode in ("log", "magnitude", "psd", "real", "imag", "angle", "stft"):
        options: dict[str, Any] = {"mode": mode, "frame_length": 16, "frame_step": 8, "fft_length": 32}
        yield whole("layers.STFTSpectrogram", mode, lay(layers.STFTSpectrogram, **options), ((None, 1),), **sound)
    for name, options in {
        "same": {"padding": "same"},
        "expand_dims": {"expand_dims": True},
        "hamming": {"window": "hamming"},
    }.items():
        function = lay(layers.STFTSpectrogram, frame_length=16, frame_step=8, fft_length=32, **options)
        yield whole("layers.STFTSpectrogram", name, function, ((None, 1),), **sound)
    for decibel in (True, False):
        function = lay(layers.MelSpectrogram, 32, 8, 16, num_mel_bins=4, power_to_db=decibel)
        yield whole("layers.MelSpectrogram", f"power_to_db={decibel}", function, ((None,),), **sound)


def _pictures() -> Iterator[Case]:
    for dtype in ("float32", "uint8"):
        yield pictures("layers.Solarization", "threshold 0.5", lay(layers.Solarization, 0.0, 0.5), dtype=dtype)
        yield pictures("layers.AutoContrast", "default", lay(layers.AutoContrast), dtype=dtype)
        yield pictures("layers.Equalization", "default", lay(layers.Equalization), dtype=dtype)
        limited = lay(layers.ContrastLimitedAdaptiveHistogramEqualization, tile_grid_size=(2, 2))
        for free in (True, False):
            words = f"tile_grid_size=(2, 2), {'free' if free else 'fixed'} sides"
            subject = "layers.ContrastLimitedAdaptiveHistogramEqualization"
            yield pictures(subject, words, limited, dtype=dtype, free=free, kinds=(), each=((16, 16), (18, 20)))
    yield pictures("layers.Solarization", "addition", lay(layers.Solarization, 0.2, 0.7))
