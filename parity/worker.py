"""A worker process: reads names of cases from its standard input, and writes a line of JSON for each."""

from __future__ import annotations

import os
import sys

from keras_pipeline import environment


def main() -> None:
    """Answer until the input ends."""
    environment.configure()
    # Libraries print to standard output; the answers have a descriptor of their own.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from parity.measure import measure
    from parity.registry import case
    from parity.workers import encode

    for line in sys.stdin:
        print(encode(measure(case(line.strip()))), file=answers, flush=True)


if __name__ == "__main__":
    main()
