"""`make bench AREA=path`: measure one area, print a table, write benchmarks/AREA/results.json."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from pathlib import Path

from row import Row

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Measure the area in the environment variable AREA; returns the exit code."""
    areas = sorted(path.parent.name for path in HERE.glob("*/bench.py"))
    area = os.environ.get("AREA", "")
    if area not in areas:
        print(f"set the area to measure: {', '.join(f'make bench AREA={name}' for name in areas)}", file=sys.stderr)
        return 2
    # SIGTERM ends the benchmark like Ctrl-C, together with the processes that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    rows: list[Row] = importlib.import_module(f"{area}.bench").measure()
    for row in rows:
        target = "" if row.target is None else f"target {row.target:<6.3g} {'holds' if row.holds else 'MISSED'}"
        print(f"{row.name:<66}{row.value:>8.3g} {row.unit:<7}{target}".rstrip())
    if os.environ.get("SCALE", "1") != "1":
        print("results.json is not written: SCALE is for trial runs")
        return 0
    (HERE / area / "results.json").write_text(json.dumps([row.as_dict() for row in rows], indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
