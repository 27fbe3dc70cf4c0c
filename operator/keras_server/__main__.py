"""Command line: ``python -m keras_server --bundle DIR --name MODEL [--store URL --path BUNDLE]``."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from keras_server import logs
from keras_server.listener import ListenError, listen
from keras_server.settings import parse_settings


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; the exit status is 1 when that did not go well, after one line that says why."""
    settings = parse_settings(sys.argv[1:] if arguments is None else arguments, os.environ)
    logs.set_up()
    try:
        listener = listen(settings.host, settings.port)
    except ListenError as error:
        logs.logger.error("cannot listen on %s", error)
        return 1
    # Its imports take a quarter of a second, for which probes that come early can wait: one that is refused tries again
    # no sooner than a second later.
    from keras_server.server import serve

    return serve(settings, listener)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    # Nothing is left to save, and a thread that is still inside of a runtime would hold up an orderly exit.
    os._exit(status)
