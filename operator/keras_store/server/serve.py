"""Runs the embedded store: ``python -m keras_store serve``."""

from __future__ import annotations

import argparse
import logging

from aiohttp import web
from prometheus_client import CollectorRegistry

from keras_store.server.app import StoreApp
from keras_store.server.disk import BundleDisk, BundleDiskError
from keras_store.server.tokens import Account, ApiServer, TokenReviewer
from keras_store.store_access import AUDIENCE

log = logging.getLogger(__name__)

# Less than the 30 s that a pod has to terminate: most of them are for uploads in progress.
_SHUTDOWN_SECONDS = 20.0


def serve(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code."""
    try:
        reader = Account.parse(options.reader) if options.reader else None
        api = None if options.insecure_no_auth else _api_server(options)
        disk = BundleDisk(options.root)
    except (ValueError, BundleDiskError, OSError) as error:
        log.error("%s", error)  # noqa: TRY400 - the message is complete without a traceback
        return 1
    except KeyError:
        log.error(  # noqa: TRY400
            "not in a pod: give --kubernetes-url, --kubernetes-ca and --kubernetes-token-file, or --insecure-no-auth"
        )
        return 1

    async def application() -> web.Application:
        registry = CollectorRegistry()
        reviewer = TokenReviewer(api, registry, options.audience or AUDIENCE) if api else None
        app = StoreApp(disk, reviewer, registry, reader).application()
        if reviewer is None:
            log.warning("authentication is off: every client of port %d can read and write all bundles", options.port)
        else:
            entered = await reviewer.__aenter__()
            app.on_cleanup.append(lambda _: entered.__aexit__())
        return app

    web.run_app(
        application(),
        host=options.host,
        port=options.port,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_SECONDS,
        print=lambda text: log.info("%s", text.splitlines()[0]),
    )
    disk.close()
    return 0


def _api_server(options: argparse.Namespace) -> ApiServer:
    given = (options.kubernetes_url, options.kubernetes_ca, options.kubernetes_token_file)
    return ApiServer(*given) if all(given) else ApiServer.in_cluster()
