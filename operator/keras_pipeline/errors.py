"""Errors of the prepare step that have a known cause, and the messages that several modules share."""

from __future__ import annotations

import re

from keras_api.reasons import Reason

SAVE_AGAIN = "save the model again with model.save('name.keras') and upload the complete file"
# For a file whose weights are good, but whose configuration does not load. Keras reads weights by the order or the
# classes of the layers, so the new model needs the same layers with weights.
LOAD_WEIGHTS = "load the weights of this file into it (model.load_weights) and save it with model.save('name.keras')"


class PrepareError(Exception):
    """The model cannot be prepared, for a known cause.

    Args:
        reason: reason for the status of the resource.
        message: the cause, with the layer, file, row or column, and the remedy.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ConversionError(Exception):
    """A runtime cannot run the model. The message contains the cause. Another runtime may run the model."""

    reason = Reason.CONVERSION_FAILED


class ParityError(Exception):
    """The outputs of a runtime differ from those of Keras. The message contains the figures."""

    reason = Reason.PARITY_FAILED


def unreadable_file(cause: str) -> PrepareError:
    """The error for a model file that is not a complete Keras model."""
    return PrepareError(Reason.MODEL_UNREADABLE, f"the model file cannot be read: {cause}")


def unsafe_file(cause: str, remedy: str = SAVE_AGAIN) -> PrepareError:
    """The error for a model file that must not be loaded."""
    return PrepareError(Reason.MODEL_UNSAFE, f"the model file was not loaded: {cause}; {remedy}")


def first_lines(error: BaseException | str, limit: int = 400) -> str:
    """The beginning of an error message, on one line: those of TensorFlow have many lines."""
    text = " ".join(re.sub(r"\x1b\[[0-9;]*m", "", str(error)).split()) or type(error).__name__
    return text if len(text) <= limit else f"{text[:limit]} ..."
