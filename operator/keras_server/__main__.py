"""Command line: ``python -m keras_server --bundle DIR --name MODEL``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import uvloop

from keras_server import logs
from keras_server.bundle import BundleError, open_bundle
from keras_server.server import serve
from keras_server.settings import parse_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit status is 1 when that did not go well, after one line that says why."""
    settings = parse_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    logs.set_up()
    try:
        return uvloop.run(serve(settings, open_bundle(settings.bundle)))
    except BundleError as error:
        logs.logger.error("cannot serve: %s", error)
    except OSError as error:
        logs.logger.error("cannot listen: %s", error.strerror or error)
    return 1


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Nothing is left to save, and a thread that is still inside of a runtime would hold up an orderly exit.
    os._exit(status)
