"""Makes the ONNX nodes that replace a TensorFlow operation."""

from __future__ import annotations

from typing import Any

import numpy as np
from tf2onnx import utils


class Builder:
    """Makes the nodes that replace one node."""

    def __init__(self, graph: Any, node: Any) -> None:
        self.graph, self.node = graph, node
        self._outputs, self._shapes, self._dtypes = node.output, node.output_shapes, node.output_dtypes

    def const(self, value: Any, dtype: Any) -> str:
        """A constant."""
        name: str = self.graph.make_const(utils.make_name("const"), np.array(value, dtype=dtype)).output[0]
        return name

    def op(self, op_type: str, *inputs: str, **attributes: Any) -> str:
        """The output of a new node."""
        name: str = self.graph.make_node(op_type, list(inputs), attr=attributes).output[0]
        return name

    def like(self, value: Any, name: str) -> str:
        """A constant in the type of another value."""
        return self.const(value, utils.map_onnx_to_numpy_type(self.graph.get_dtype(name)))

    def cast(self, value: str, onnx_type: int) -> str:
        """A value in another type."""
        return self.op("Cast", value, to=onnx_type)

    def replace(self, op_type: str, *inputs: str, **attributes: Any) -> None:
        """Put a new node in place of the old one, under the name of its output."""
        self.graph.remove_node(self.node.name)
        self.graph.make_node(
            op_type, list(inputs), attr=attributes, outputs=self._outputs, shapes=self._shapes, dtypes=self._dtypes
        )
