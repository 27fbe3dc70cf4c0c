"""Runs the embedded store: ``python -m keras_store serve``."""

from __future__ import annotations

import argparse
import logging

from aiohttp import web
from prometheus_client import CollectorRegistry

from keras_store.bundle_disk import BundleDisk, BundleDiskError
from keras_store.server import StoreServer
from keras_store.tokens import AUDIENCE, Account, ApiServer, TokenReviews

log = logging.getLogger(__name__)

# A pod gets 30 seconds to end; uploads under way are worth most of them.
_SHUTDOWN_SECONDS = 20.0


def serve(options: argparse.Namespace) -> int:
    """Serve until told to end; the exit code."""
    try:
        reader = Account.parse(options.reader) if options.reader else None
        api = None if options.insecure_no_auth else _api_server(options)
        archive = BundleDisk(options.root)
    except (ValueError, BundleDiskError, OSError) as error:
        log.error("%s", error)  # noqa: TRY400 - one line says it
        return 1
    except KeyError:
        log.error(  # noqa: TRY400
            "not in a pod: give --kubernetes-url, --kubernetes-ca and --kubernetes-token-file, or --insecure-no-auth"
        )
        return 1

    async def application() -> web.Application:
        registry = CollectorRegistry()
        tokens = TokenReviews(api, registry, options.audience or AUDIENCE) if api else None
        app = StoreServer(archive, tokens, registry, reader).application()
        if tokens is None:
            log.warning("no authentication: whoever reaches port %d reads and writes every bundle", options.port)
        else:
            reviews = await tokens.__aenter__()
            app.on_cleanup.append(lambda _: reviews.__aexit__())
        return app

    web.run_app(
        application(),
        host=options.host,
        port=options.port,
        access_log=None,
        shutdown_timeout=_SHUTDOWN_SECONDS,
        print=lambda text: log.info("%s", text.splitlines()[0]),
    )
    archive.close()
    return 0


def _api_server(options: argparse.Namespace) -> ApiServer:
    given = (options.kubernetes_url, options.kubernetes_ca, options.kubernetes_token_file)
    return ApiServer(*given) if all(given) else ApiServer.in_cluster()
