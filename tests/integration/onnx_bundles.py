"""Bundles of small ONNX models, as prepare would have made them."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from msgspec.structs import replace
from onnx import ModelProto, TensorProto, helper, numpy_helper

from keras_api.manifest import (
    GOLDEN_NAME,
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    ModelSummary,
    Parity,
    SourceRecord,
    Tensor,
    decode_manifest,
    encode_manifest,
)

DIGEST = "sha256:" + "0" * 64
REVISION = "00000000ff"
ONNX_TYPES = {
    "bool": TensorProto.BOOL,
    "int8": TensorProto.INT8,
    "int16": TensorProto.INT16,
    "int32": TensorProto.INT32,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "uint16": TensorProto.UINT16,
    "uint32": TensorProto.UINT32,
    "uint64": TensorProto.UINT64,
    "float16": TensorProto.FLOAT16,
    "float32": TensorProto.FLOAT,
    "float64": TensorProto.DOUBLE,
    "string": TensorProto.STRING,
}


def write_bundle(
    directory: Path,
    *,
    inputs: list[Tensor],
    outputs: list[Tensor],
    golden: dict[str, np.ndarray],
    runtime: str = "onnxruntime",
    entry: str = "model.onnx",
    **manifest: Any,
) -> Path:
    """Add golden data and a manifest to a folder that holds the runtime's files."""
    np.savez(directory / GOLDEN_NAME, **golden)
    files = [path for path in sorted(directory.rglob("*")) if path.is_file() and path.name != MANIFEST_NAME]
    summary = ModelSummary(
        digest=DIGEST,
        size_bytes=1,
        keras_version="3.15.1",
        parameters=1,
        inputs=inputs,
        outputs=outputs,
        runtime=runtime,
        parity=Parity(max_abs_error="1e-7", agreement="1", rows=8),
    )
    content = Manifest(
        revision=REVISION,
        source=SourceRecord(uri="file:///model.keras", fingerprint="f", digest=DIGEST, size_bytes=1),
        model=summary,
        entry=entry,
        versions={},
        files=[
            FileRecord(
                path=path.relative_to(directory).as_posix(),
                sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                size_bytes=path.stat().st_size,
            )
            for path in files
        ],
        **manifest,
    )
    (directory / MANIFEST_NAME).write_bytes(encode_manifest(content))
    return directory


def write_onnx_bundle(
    directory: Path, model: ModelProto, golden_inputs: dict[str, np.ndarray], **wrong_outputs: np.ndarray
) -> Path:
    """A bundle whose golden outputs are ONNX Runtime's own, but for those given."""
    directory.mkdir()
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_outputs()]
    feeds = {name: array.astype(object) if array.dtype.kind == "U" else array for name, array in golden_inputs.items()}
    answers = dict(zip(names, session.run(names, feeds), strict=True)) | wrong_outputs
    answers = {name: array.astype(str) if array.dtype == object else array for name, array in answers.items()}
    return write_bundle(
        directory,
        inputs=[_tensor(node) for node in model.graph.input],
        outputs=[_tensor(node) for node in model.graph.output],
        golden={f"input:{name}": array for name, array in golden_inputs.items()}
        | {f"output:{name}": array for name, array in answers.items()},
    )


def change_model(bundle: Path, **changes: Any) -> Path:
    """Change fields of the model in a bundle's manifest."""
    manifest = decode_manifest((bundle / MANIFEST_NAME).read_bytes())
    changed = replace(manifest, model=replace(manifest.model, **changes))
    (bundle / MANIFEST_NAME).write_bytes(encode_manifest(changed))
    return bundle


def _tensor(node: Any) -> Tensor:
    kind = node.type.tensor_type
    dtype = next(name for name, number in ONNX_TYPES.items() if number == kind.elem_type)
    return Tensor(name=node.name, dtype=dtype, shape=[dim.dim_value or -1 for dim in kind.shape.dim])


def value(name: str, dtype: str, *shape: int | str) -> Any:
    return helper.make_tensor_value_info(name, ONNX_TYPES[dtype], shape)


def onnx_model(nodes: list[Any], inputs: list[Any], outputs: list[Any], **constants: np.ndarray) -> ModelProto:
    initializers = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


def flowers() -> ModelProto:
    """measures float32 [-1, 4] -> scores float32 [-1, 3]: of whole numbers the same on every machine."""
    weights = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.5, 0.5, 0.5]], np.float32)
    return onnx_model(
        [helper.make_node("MatMul", ["measures", "w"], ["scores"])],
        [value("measures", "float32", "n", 4)],
        [value("scores", "float32", "n", 3)],
        w=weights,
    )
