#!/usr/bin/env bash
# ONNX Runtime on the CPU takes the smaller of two int64 numbers as their maximum if they differ in the lower 32 bits only.
#
# Guess:     operators for int64 use all 64 bits: the maximum of 2147483648 and 2 is 2147483648.
# Fact:      Max, Min, Sign and Relu compare the lower halves of two numbers as signed if the upper halves are equal, so
#            2147483648 is less than 2, and negative. Greater and Where are right. Seen on a processor with AVX512.
# Versions:  onnxruntime 1.31.1, onnx 1.23.2, numpy 2.4.6
# Output:    (2026-11-28)
#            Max  is wrong for [2147483648, 2147483653, 1720134402048]
#            Min  is wrong for [2147483648, 2147483653, 1720134402048]
#            Sign is wrong for [2147483648, 2147483653]
#            Relu is wrong for [2147483648, 2147483653]
#            Greater is right for all
# Relevance: identifiers and timestamps in milliseconds are such numbers. A model that takes the later one of two
#            timestamps in July 2024, or clips an identifier, answers with another number after its conversion to ONNX.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install onnxruntime==1.31.1 onnx==1.23.2 numpy==2.4.6

run - << 'PYTHON'
import numpy as np
import onnxruntime
from onnx import TensorProto, checker, helper

X = np.array([2**31, 2**31 + 5, 3 * 2**31, 1_717_986_918_400 + 2**31, -(2**40)], np.int64)
Y = np.array([2, 2, 2, 1_717_986_918_400, 2], np.int64)
RIGHT = {"Max": np.maximum(X, Y), "Min": np.minimum(X, Y), "Sign": np.sign(X), "Relu": np.maximum(X, 0)}
GREATER = X > Y


def run(operator, result=TensorProto.INT64):
    """The answer of a model of one operator."""
    names = ["x", "y"] if operator in ("Max", "Min", "Greater") else ["x"]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, [None]) for name in names]
    output = helper.make_tensor_value_info("z", result, [None])
    graph = helper.make_graph([helper.make_node(operator, names, ["z"])], "one", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, dict(zip(names, (X, Y))))[0]


wrong = {}
for operator, right in RIGHT.items():
    answer = run(operator)
    wrong[operator] = [int(x) for x, a, r in zip(X, answer, right) if a != r]
    print(f"{operator:4} is wrong for {wrong[operator]}")
assert wrong["Max"] == wrong["Min"] == [2**31, 2**31 + 5, 1_717_986_918_400 + 2**31]
assert wrong["Sign"] == wrong["Relu"] == [2**31, 2**31 + 5]
assert (run("Greater", TensorProto.BOOL) == GREATER).all()
print("Greater is right for all")
PYTHON
