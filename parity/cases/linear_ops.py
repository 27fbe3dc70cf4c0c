"""Operations of keras.ops on vectors and matrices: products, decompositions, Fourier transforms."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from keras import ops

from parity.build import whole
from parity.model import Case

Function = Callable[..., Any]

SQUARE = ((3, 3),)
EDGES = ("zero", "tiny", "NaN", "infinity")
MATRIX = np.arange(12, dtype="float32").reshape(4, 3) / 7 - 0.8
VECTOR = np.array([0.5, -1.0, 2.0, 0.25], "float32")


def cases() -> Iterator[Case]:
    """All cases of this module."""
    yield from _products()
    yield from _decompositions()
    yield from _fourier()


def _products() -> Iterator[Case]:
    for dtype in ("float32", "float16", "int32"):
        constant = (MATRIX * 10).astype(dtype)
        rows = f"by a matrix, {dtype}"
        yield whole("ops.matmul", rows, lambda x, m=constant: ops.matmul(x, m), ((None, 4),), (dtype,), kinds=EDGES)
        yield whole("ops.dot", rows, lambda x, m=constant: ops.dot(x, m), ((4,),), (dtype,), kinds=EDGES)
        yield whole("ops.matmul", f"of batches, {dtype}", ops.matmul, ((None, 4), (4, 2)), (dtype, dtype), kinds=EDGES)
    yield whole("ops.matmul", "uint8", lambda x: ops.matmul(x, np.ones((4, 2), "uint8")), ((4,),), ("uint8",))
    yield whole("ops.matmul", "by a vector", lambda x: ops.matmul(x, VECTOR), ((None, 4),), kinds=EDGES)
    yield whole("ops.inner", "with a matrix", lambda x: ops.inner(x, MATRIX.T), ((4,),), kinds=EDGES)
    yield whole("ops.outer", "of rows", lambda x: ops.map(lambda r: ops.outer(r, VECTOR), x), ((4,),), kinds=EDGES)
    yield whole("ops.vdot", "of rows", lambda x: ops.map(lambda r: ops.vdot(r, VECTOR), x), ((4,),), kinds=EDGES)
    yield whole("ops.kron", "of rows", lambda x: ops.map(lambda r: ops.kron(r, VECTOR), x), ((4,),), kinds=())
    yield whole("ops.tensordot", "axes=1", lambda x: ops.tensordot(x, MATRIX, 1), ((None, 4),), kinds=EDGES)
    yield whole("ops.tensordot", "axes=([1], [0])", lambda x: ops.tensordot(x, MATRIX, ([1], [0])), ((4, 2),), kinds=())
    yield whole("ops.einsum", "bij,jk->bik", lambda x: ops.einsum("bij,jk->bik", x, MATRIX), ((None, 4),), kinds=EDGES)
    yield whole("ops.einsum", "bij,bkj->bik", lambda x, y: ops.einsum("bij,bkj->bik", x, y), ((None, 4), (None, 4)))
    yield whole("ops.einsum", "bii->bi", lambda x: ops.einsum("bii->bi", x), SQUARE, kinds=())
    yield whole("ops.cross", "of vectors", ops.cross, ((3,), (3,)), kinds=EDGES)
    yield whole("ops.cdist", "of batches", ops.cdist, ((4, 3), (2, 3)), kinds=("zero", "NaN"))
    convolved = lambda x: ops.map(lambda r: ops.correlate(r, VECTOR), x)  # noqa: E731
    yield whole("ops.correlate", "of rows", convolved, ((6,),), kinds=())
    for mode in ("same", "full"):
        yield whole(
            *("ops.correlate", f"of rows, {mode}"),
            lambda x, mode=mode: ops.map(lambda r: ops.correlate(r, VECTOR, mode), x),
            ((6,),),
            kinds=(),
        )


def _symmetric(x: Any) -> Any:
    """A positive definite matrix of any matrix."""
    return ops.matmul(x, ops.transpose(x, (0, 2, 1))) + ops.eye(3)


def _decompositions() -> Iterator[Case]:
    table: list[tuple[str, str, Function]] = [
        ("cholesky", "lower", lambda x: ops.cholesky(_symmetric(x))),
        ("cholesky", "upper", lambda x: ops.cholesky(_symmetric(x), upper=True)),
        ("cholesky_inverse", "lower", lambda x: ops.cholesky_inverse(ops.cholesky(_symmetric(x)))),
        ("det", "3 x 3", ops.det),
        ("inv", "3 x 3", lambda x: ops.inv(_symmetric(x))),
        ("logdet", "3 x 3", lambda x: ops.logdet(_symmetric(x))),
        ("slogdet", "3 x 3", ops.slogdet),
        ("eigh", "values", lambda x: ops.eigh(_symmetric(x))[0]),
        ("eig", "real parts of the values", lambda x: ops.sort(ops.real(ops.eig(_symmetric(x))[0]))),
        ("lu_factor", "factors", lambda x: ops.lu_factor(_symmetric(x))[0]),
        ("lstsq", "of rows", lambda x: ops.map(lambda m: ops.lstsq(m, np.ones((3, 1), "float32")), _symmetric(x))),
        ("matrix_rank", "3 x 3", ops.matrix_rank),
        ("pinv", "3 x 3", lambda x: ops.pinv(_symmetric(x))),
        ("qr", "of the upper factor", lambda x: ops.abs(ops.qr(x)[1])),
        ("solve", "by ones", lambda x: ops.solve(_symmetric(x), ops.ones_like(x))),
        ("solve_triangular", "lower", lambda x: ops.solve_triangular(ops.cholesky(_symmetric(x)), x, lower=True)),
        ("svd", "values", lambda x: ops.svd(x, compute_uv=False)),
    ]
    for name, variant, function in table:
        yield whole(f"ops.{name}", variant, function, SQUARE, kinds=("zero",))


def _fourier() -> Iterator[Case]:
    pair = ((8,), (8,))
    picture = ((4, 8), (4, 8))
    yield whole("ops.fft", "8 values", lambda x, y: ops.fft((x, y)), pair, kinds=())
    yield whole("ops.fft2", "4 x 8", lambda x, y: ops.fft2((x, y)), picture, kinds=())
    yield whole("ops.ifft2", "4 x 8", lambda x, y: ops.ifft2((x, y)), picture, kinds=())
    yield whole("ops.rfft", "8 values", ops.rfft, ((8,),), kinds=())
    yield whole("ops.rfft", "fft_length=6", lambda x: ops.rfft(x, 6), ((8,),), kinds=())
    yield whole("ops.irfft", "5 values", lambda x, y: ops.irfft((x, y)), ((5,), (5,)), kinds=())
    for window in ("hann", "hamming", None):
        for center in (True, False):
            yield whole(
                *("ops.stft", f"window={window}, center={center}"),
                lambda x, window=window, center=center: ops.stft(x, 16, 8, 16, window=window, center=center),
                ((None,),),
                kinds=(),
                free=40,
                each=(32, 41),
            )
    yield whole("ops.istft", "of stft", lambda x: ops.istft(ops.stft(x, 16, 8, 16), 16, 8, 16), ((40,),), kinds=())
    complex_pair = lambda x: ops.view_as_complex(x)  # noqa: E731
    yield whole("ops.view_as_complex", "real part", lambda x: ops.real(complex_pair(x)), ((4, 2),), kinds=())
    yield whole("ops.view_as_real", "of complex", lambda x: ops.view_as_real(complex_pair(x)), ((4, 2),), kinds=())
    yield whole("ops.polar", "real and imaginary", _polar, ((4,), (4,)), kinds=())
    for name in ("real", "imag", "angle"):
        yield whole(f"ops.{name}", "of complex", _of_complex(getattr(ops, name)), ((4, 2),), kinds=("zero",))
    for name in ("conj", "conjugate"):
        yield whole(f"ops.{name}", "of complex", _of_complex(_parts(getattr(ops, name))), ((4, 2),), kinds=())
    yield whole("ops.abs", "of complex", _of_complex(ops.abs), ((4, 2),), kinds=())


def _polar(x: Any, y: Any) -> Any:
    value = ops.polar(ops.abs(x), y)
    return ops.real(value), ops.imag(value)


def _of_complex(function: Function) -> Function:
    return lambda x: function(ops.view_as_complex(x))


def _parts(function: Function) -> Function:
    return lambda x: ops.imag(function(x))
