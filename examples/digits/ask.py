"""Send the held-out digits to the served model and show its predictions. Requires only Python."""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
import time
import urllib.request
from pathlib import Path

SHADES = " .:-=+*#%@"
BATCH = 60
SINGLE_REQUESTS = 200


def read_digits(path: Path) -> tuple[list[list[list[list[float]]]], list[int]]:
    """Images as nested lists of shape [n, 8, 8, 1], and their labels."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = [[[[float(row[f"pixel{8 * y + x}"])] for x in range(8)] for y in range(8)] for row in rows]
    return images, [int(row["label"]) for row in rows]


def predict(url: str, images: list[list[list[list[float]]]]) -> list[list[float]]:
    """Probabilities of the ten digits for each image, from TensorFlow Serving's REST API."""
    body = json.dumps({"instances": images}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        predictions: list[list[float]] = json.load(response)["predictions"]
    return predictions


def picture(image: list[list[list[float]]]) -> list[str]:
    """The digit as eight lines of text."""
    return ["".join(2 * SHADES[round(pixel / 16 * (len(SHADES) - 1))] for (pixel,) in row) for row in image]


def main() -> int:
    """Print some digits beside their predictions, the accuracy, and the latency of one request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="for example http://127.0.0.1:8080")
    parser.add_argument("csv", type=Path, help="digits-test.csv from train.py")
    parser.add_argument("--name", default="digits", help="name of the KerasModel")
    parser.add_argument("--min-accuracy", type=float, default=0.95)
    arguments = parser.parse_args()
    url = f"{arguments.url}/v1/models/{arguments.name}:predict"

    images, labels = read_digits(arguments.csv)
    probabilities = [row for i in range(0, len(images), BATCH) for row in predict(url, images[i : i + BATCH])]
    predictions = [max(range(10), key=row.__getitem__) for row in probabilities]

    for left, right in ((0, 1), (2, 3)):
        print()
        for a, b in zip(picture(images[left]), picture(images[right]), strict=True):
            print(f"    {a}      {b}")
        captions = [f"predicted {predictions[i]} ({max(probabilities[i]):.0%}), is {labels[i]}" for i in (left, right)]
        print(f"    {captions[0]:<20}  {captions[1]}")

    accuracy = sum(a == b for a, b in zip(predictions, labels, strict=True)) / len(labels)
    print(f"\naccuracy on {len(labels)} held-out digits: {accuracy:.3f} (required: {arguments.min_accuracy})")

    seconds = []
    for i in range(SINGLE_REQUESTS):
        start = time.perf_counter()
        predict(url, [images[i % len(images)]])
        seconds.append(time.perf_counter() - start)
    p50, p95 = statistics.median(seconds), statistics.quantiles(seconds, n=20)[-1]
    print(
        f"client-side latency of one digit: p50 {p50 * 1e3:.1f} ms, p95 {p95 * 1e3:.1f} ms "
        f"({SINGLE_REQUESTS} requests with a new connection each)"
    )
    return 0 if accuracy >= arguments.min_accuracy else 1


if __name__ == "__main__":
    sys.exit(main())
