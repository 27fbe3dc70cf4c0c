"""Train a small CNN on the UCI handwritten digits (1,797 real 8x8 images that scikit-learn ships).

Writes digits.keras (the model) and digits-test.csv (the held-out fifth with 64 pixel columns and `label`) to a folder.
"""

from __future__ import annotations

import argparse
import csv
import os
from pathlib import Path

os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", TF_ENABLE_ONEDNN_OPTS="0")  # before Keras, to silence startup messages

import keras
from keras import layers
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


def build() -> keras.Model:
    """A CNN with 20,000 weights. The pixels are 0 to 16, as in scikit-learn; the model scales them."""
    return keras.Sequential(
        [
            keras.Input((8, 8, 1), name="pixels"),
            layers.Rescaling(1 / 16),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dropout(0.3),
            layers.Dense(32, activation="relu"),
            layers.Dense(10, activation="softmax", name="digit"),
        ],
        name="digits",
    )


def main() -> None:
    """Train the model, print its accuracy, and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where to write digits.keras and digits-test.csv")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)

    keras.utils.set_random_seed(arguments.seed)
    digits = load_digits()
    train_x, test_x, train_y, test_y = train_test_split(
        digits.images[..., None], digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    model = build()
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    model.fit(train_x, train_y, epochs=arguments.epochs, batch_size=32, verbose=0)
    _, accuracy = model.evaluate(test_x, test_y, verbose=0)
    print(f"trained on {len(train_x)} digits; accuracy on the {len(test_x)} held-out ones: {accuracy:.3f}")

    model.save(arguments.folder / "digits.keras")
    with (arguments.folder / "digits-test.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([*(f"pixel{i}" for i in range(64)), "label"])
        for image, label in zip(test_x.reshape(-1, 64), test_y, strict=True):
            rows.writerow([*(int(value) for value in image), int(label)])


if __name__ == "__main__":
    main()
