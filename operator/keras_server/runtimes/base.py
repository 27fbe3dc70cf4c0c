"""The interface of a runtime."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from keras_server.dtypes import Array


class Runtime(Protocol):
    """Runs a model; may be called from several threads at once."""

    def infer(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on arrays that fit its signature; names are the manifest's, strings are `bytes`.

        Raises:
            InvalidRequestError: when the model refuses values that fit its signature, such as a token id out of range.
            InferenceError: when the runtime fails.
        """
        ...
