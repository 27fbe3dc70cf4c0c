"""`make parity [ONLY=pattern]`: compare both runtimes with Keras on every layer and operation.

Writes parity/results.json and docs/reference/operators.md. With ONLY, the other results are kept.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import re
import sys
import time
from pathlib import Path

from keras_pipeline import environment

environment.configure()  # before TensorFlow is imported

from parity import page, registry, results  # noqa: E402
from parity.results import Result, Verdict  # noqa: E402
from parity.workers import ROOT, Pool  # noqa: E402

HERE = Path(__file__).resolve().parent
VERSIONS = ("keras", "tensorflow-cpu", "tf2onnx", "onnxruntime")


def main() -> int:
    """Run the search; returns 1 if an answer is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default=os.environ.get("ONLY", ""), help="regular expression for names of cases")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes, default one per core")
    parser.add_argument("--seconds", type=float, default=300.0, help="time limit of a case")
    parser.add_argument("--out", type=Path, default=HERE / "results.json", help="file for the results")
    parser.add_argument("--resume", action="store_true", help="keep the results of an interrupted run")
    options = parser.parse_args()
    known = set(registry.names())
    kept = results.read(options.out) if options.only or options.resume else []
    found: dict[str, Result] = {each.name: each for each in kept if each.name in known}
    chosen = [name for name in registry.names() if re.search(options.only, name)]
    if options.resume:
        chosen = [name for name in chosen if name not in found]
    chosen.sort(key=registry.rank)
    began = time.monotonic()
    with Pool(options.workers, options.seconds) as pool:
        for done, result in enumerate(pool.map(chosen), 1):
            found[result.name] = result
            minutes, seconds = divmod(int(time.monotonic() - began), 60)
            print(
                f"{minutes:3d}:{seconds:02d} {done:5d}/{len(chosen)} {result.verdict:<26} {result.name} "
                f"({result.seconds:.1f} s) {result.cause[:120]}",
                flush=True,
            )
            if done % 50 == 0:
                results.write(options.out, found.values())
    results.write(options.out, found.values())
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    (ROOT / "docs/reference/operators.md").write_text(page.page(list(found.values()), registry.UNCOVERED, versions))
    counts = {verdict: sum(each.verdict is verdict for each in found.values()) for verdict in Verdict}
    print(", ".join(f"{verdict}: {count}" for verdict, count in counts.items() if count))
    return 1 if counts[Verdict.WRONG] or counts[Verdict.FAILED] else 0


if __name__ == "__main__":
    sys.exit(main())
