"""What can go wrong in the prepare step, as far as it is foreseen."""

from __future__ import annotations

from keras_api.reasons import Reason


class PrepareError(Exception):
    """The model cannot be prepared, and why is known.

    Args:
        reason: constant for the resource's status.
        message: what is wrong, naming the layer, file, row or column, and what would help.
    """

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class ConversionError(Exception):
    """A runtime cannot run the model; the text says why. Another runtime may."""

    reason = Reason.CONVERSION_FAILED


class ParityError(Exception):
    """A runtime runs the model but gives other answers than Keras; the text holds the figures. Another may be right."""

    reason = Reason.PARITY_FAILED
