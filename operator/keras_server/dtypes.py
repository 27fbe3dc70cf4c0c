"""Element types: their names in manifests and in both protocols, and their types in JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ElementType:
    """One element type under all its names."""

    name: str  # in manifests
    oip: str  # in the Open Inference Protocol
    tensorflow: str  # in TensorFlow Serving's metadata
    json: type


DTYPES: dict[str, ElementType] = {
    element.name: element
    for element in (
        ElementType("bool", "BOOL", "DT_BOOL", bool),
        ElementType("int8", "INT8", "DT_INT8", int),
        ElementType("int16", "INT16", "DT_INT16", int),
        ElementType("int32", "INT32", "DT_INT32", int),
        ElementType("int64", "INT64", "DT_INT64", int),
        ElementType("uint8", "UINT8", "DT_UINT8", int),
        ElementType("uint16", "UINT16", "DT_UINT16", int),
        ElementType("uint32", "UINT32", "DT_UINT32", int),
        ElementType("uint64", "UINT64", "DT_UINT64", int),
        ElementType("float16", "FP16", "DT_HALF", float),
        ElementType("float32", "FP32", "DT_FLOAT", float),
        ElementType("float64", "FP64", "DT_DOUBLE", float),
        ElementType("string", "BYTES", "DT_STRING", str),
    )
}
