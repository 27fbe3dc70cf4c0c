"""Command line: ``python -m keras_server --bundle DIR --name MODEL [--store URL --path BUNDLE]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import uvloop

from keras_api.report import Failure, StepReport
from keras_api.termination import publish
from keras_server import logs
from keras_server.bundle import BundleError
from keras_server.server import ListenError, serve
from keras_server.settings import parse_settings
from keras_store.errors import StepError


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit status is 1 when that did not go well, after one line that says why."""
    settings = parse_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    logs.set_up()
    try:
        return uvloop.run(serve(settings))
    except StepError as error:
        logs.logger.error("%s: %s", error.reason, error.message)
        failure = Failure(reason=error.reason, message=error.message)
        publish(StepReport(step="get", revision=settings.path.rpartition("/")[2], failure=failure))
    except BundleError as error:
        logs.logger.error("cannot serve: %s", error)
    except ListenError as error:
        logs.logger.error("cannot listen: %s", error)
    return 1


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Nothing is left to save, and a thread that is still inside of a runtime would hold up an orderly exit.
    os._exit(status)
