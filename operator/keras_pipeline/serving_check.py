"""The last check of a bundle: it is read, loaded and warmed up as a server does it, and run row by row."""

from __future__ import annotations

from pathlib import Path

from keras_api.limits import cpu_limit
from keras_api.reasons import Reason
from keras_pipeline.errors import PrepareError, first_lines
from keras_runtimes.base import InvalidInputError, ModelRunError
from keras_runtimes.bundle import BundleError, open_bundle
from keras_runtimes.warmup import GoldenMismatchError, check_rows, warm_up


def check_serving(folder: Path) -> None:
    """See that a server can serve a bundle.

    Args:
        folder: of the bundle.

    Raises:
        PrepareError: CONVERSION_FAILED if the bundle cannot be run, PARITY_FAILED if it does not answer as Keras did.
    """
    try:
        bundle = open_bundle(folder)
        model, golden = bundle.manifest.model, bundle.golden()
        runtime = bundle.load(threads=cpu_limit())
        warm_up(runtime, model, golden)
        if model.rows_independent:  # otherwise the warm-up has run each row alone
            check_rows(runtime, model, golden)
    except GoldenMismatchError as error:
        raise PrepareError(Reason.PARITY_FAILED, f"the prepared model fails a server's warm-up: {error}") from error
    except (BundleError, InvalidInputError, ModelRunError) as error:
        raise PrepareError(
            Reason.CONVERSION_FAILED, f"a server cannot serve the prepared model: {first_lines(error)}"
        ) from error
