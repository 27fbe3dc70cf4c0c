"""Command line: ``python -m keras_server --bundle DIR --name MODEL [--store URL --path BUNDLE]``."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Sequence

from keras_api import logs
from keras_server.listener import ListenError, listen
from keras_server.settings import parse_settings

log = logging.getLogger("keras_server")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the process receives a signal to stop. Returns the exit status: 1 after an error, which is logged."""
    settings = parse_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    logs.set_up()
    try:
        listener = listen(settings.host, settings.port)
    except ListenError as error:
        log.error("cannot listen on %s", error)  # noqa: TRY400 - one line, without a traceback
        return 1
    # These imports take a quarter of a second. Early probes wait for them in the backlog; the kubelet would repeat one
    # that is refused no sooner than a second later.
    from keras_server.server import serve

    return serve(settings, listener)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # There is nothing left to save, and a thread that is still in a runtime would delay an orderly exit.
    os._exit(status)
