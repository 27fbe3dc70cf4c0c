"""What kept a child from being as wanted."""

from __future__ import annotations

from typing import NamedTuple

from keras_api.reasons import Reason


class Problem(NamedTuple):
    """Why a child could not be applied or deleted."""

    reason: Reason
    message: str
