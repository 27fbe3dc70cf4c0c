"""Command line: ``python -m keras_store fetch | put | get | serve``."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
from collections.abc import Sequence
from pathlib import Path

from keras_api.prepare_request import RequestError, decode_request
from keras_api.reasons import Reason
from keras_api.scalars import quantity
from keras_api.step_report import StepFailure, StepReport
from keras_api.termination import publish
from keras_api.work_folder import WorkFolder
from keras_store.atomic_file import is_full
from keras_store.bundles.open import bundle_store
from keras_store.errors import StepError, no_space
from keras_store.fetch import fetch
from keras_store.redaction import public_text
from keras_store.sources.base import VOLUMES

log = logging.getLogger("keras_store")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code."""
    options = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    if options.command == "serve":
        # Imported here: every pod begins with a step, and the web server doubles the time of its imports.
        from keras_store.server.serve import serve

        return serve(options)
    return _step(options)


def _step(options: argparse.Namespace) -> int:
    step: str = options.command
    revision = ""
    try:
        if step == "get":
            revision = options.path.rpartition("/")[2]
            asyncio.run(_get(options))
        else:
            request = decode_request(options.request)
            revision = request.revision
            fetched = asyncio.run(_fetch(options) if step == "fetch" else _put(options))
            if fetched is not None:
                publish(StepReport(step=step, revision=revision, fetched_bytes=fetched))
    except StepError as error:
        return _failed(step, revision, error.reason, error.message)
    except RequestError as error:
        return _failed(
            step, revision, Reason.PREPARE_FAILED, f"{error}: operator and image must be of the same release"
        )
    except Exception as error:
        if isinstance(error, OSError) and is_full(error):
            full = no_space(error)
            return _failed(step, revision, full.reason, full.message)
        # Unexpected: the log gets the traceback, the status its last line.
        log.exception("%s failed", step)
        reason = Reason.CRASH_LOOP if step == "get" else Reason.PREPARE_FAILED
        return _failed(step, revision, reason, f"{step} failed: {type(error).__name__}: {public_text(str(error))}")
    return 0


def _failed(step: str, revision: str, reason: Reason, message: str) -> int:
    log.error("%s: %s", reason, message)
    publish(StepReport(step=step, revision=revision, failure=StepFailure(reason=reason, message=message)))
    return 1


async def _fetch(options: argparse.Namespace) -> int | None:
    request = decode_request(options.request)
    async with bundle_store(options.store) as store:
        return await fetch(
            request, store, WorkFolder(options.work), os.environ, max_bytes=options.max_bytes, volumes=options.volumes
        )


async def _put(options: argparse.Namespace) -> None:
    request = decode_request(options.request)
    work = WorkFolder(options.work)
    if not work.source.exists():
        log.info("%s was in the store already; there is nothing to put", request.bundle_path)
        return
    async with bundle_store(options.store) as store:
        stored = await store.put(request.bundle_path, work.bundle)
    log.info("%s %s", request.bundle_path, "stored" if stored else "was stored by another run")


async def _get(options: argparse.Namespace) -> None:
    async with bundle_store(options.store) as store:
        manifest = await store.get(options.path, options.into)
    log.info("%s: %d files in %s", options.path, len(manifest.files), options.into)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m keras_store", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    fetch_command = commands.add_parser("fetch", help="download the source of a prepare request into the work folder")
    put_command = commands.add_parser("put", help="upload the bundle in the work folder to the store")
    for command in (fetch_command, put_command):
        command.add_argument("--request", required=True, help="the prepare request, as JSON")
        command.add_argument("--work", required=True, type=Path, help="the work folder")
    fetch_command.add_argument("--max-bytes", required=True, type=_bytes, help="largest model file, such as 8Gi")
    fetch_command.add_argument("--volumes", type=Path, default=VOLUMES, help="folder under which claims are mounted")

    get_command = commands.add_parser("get", help="download a bundle from the store into a folder")
    get_command.add_argument("--path", required=True, help="<namespace>/<model>/<revision>")
    get_command.add_argument("--into", required=True, type=Path, help="the folder")

    for command in (fetch_command, put_command, get_command):
        command.add_argument("--store", required=True, help="http(s)://host, s3://bucket/prefix or file:///folder")

    serve = commands.add_parser("serve", help="run the embedded store")
    serve.add_argument("--root", required=True, type=Path, help="folder for the bundles")
    serve.add_argument("--host", default=None, help="address to listen on (default: all)")
    serve.add_argument("--port", type=int, default=8080)
    serve.add_argument(
        "--audience",
        help="audience of tokens that may write; that of read-only tokens has the suffix -read (default: keras-store)",
    )
    serve.add_argument(
        "--reader",
        help="system:serviceaccount:<namespace>:<name> of the operator, which may read the manifests of all namespaces",
    )
    serve.add_argument("--kubernetes-url", help="the API server (default: the pod's)")
    serve.add_argument("--kubernetes-ca", type=Path, help="its CA certificate")
    serve.add_argument("--kubernetes-token-file", type=Path, help="the store's own token")
    serve.add_argument(
        "--insecure-no-auth", action="store_true", help="let every client read and write everything; for laptops"
    )
    return parser


def _bytes(text: str) -> int:
    return int(quantity(text))


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # A thread of obstore that still runs while the interpreter shuts down sometimes aborts the process (exit code 134)
    # after a successful run.
    os._exit(code)
