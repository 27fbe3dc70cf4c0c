#!/usr/bin/env bash
# pysimdjson's `as_buffer` turns a list with rows of different lengths into a flat array, without an error.
#
# Guess:     [[1, 2, 3], [4]] has no rectangular shape, so the conversion to an array raises, as numpy's does.
# Fact:      the parser writes all numbers of the list one after the other. Four numbers in any nesting give the same
#            buffer, and `reshape(2, 2)` accepts it. The caller must compare the brackets with the shape.
# Versions:  pysimdjson 7.0.2, numpy 2.4.6
# Output:    (2026-11-28)
#            [[1.0, 2.0], [3.0, 4.0]]    [1.0, 2.0, 3.0, 4.0]
#            [[1.0, 2.0, 3.0], [4.0]]    [1.0, 2.0, 3.0, 4.0]
#            [[1.0], [2.0, [3.0, 4.0]]]  [1.0, 2.0, 3.0, 4.0]
#            numpy raises ValueError for 2 of 3
# Relevance: `as_buffer` is the fastest way to read the rows of a prediction request in Python. A server that only
#            counts the numbers answers a malformed request with predictions for other rows.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install pysimdjson==7.0.2 numpy==2.4.6

run - << 'PYTHON'
import json

import numpy as np
import simdjson

parser = simdjson.Parser()
refused = []
for text in ("[[1.0, 2.0], [3.0, 4.0]]", "[[1.0, 2.0, 3.0], [4.0]]", "[[1.0], [2.0, [3.0, 4.0]]]"):
    flat = np.frombuffer(parser.parse(text.encode()).as_buffer(of_type="d"), np.float64).tolist()
    print(f"{text:27} {flat}")
    assert flat == [1, 2, 3, 4]
    try:
        np.array(json.loads(text), np.float64)
    except ValueError:
        refused.append(text)
print(f"numpy raises ValueError for {len(refused)} of 3")
assert len(refused) == 2
PYTHON
