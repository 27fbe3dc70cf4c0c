"""The server's options. Each is a flag, and an environment variable: ``--max-rows`` is ``KERAS_SERVER_MAX_ROWS``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from keras_api.limits import cpu_limit

ENVIRONMENT_PREFIX = "KERAS_SERVER_"
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\sA-Z]+")


@dataclass(frozen=True)
class Settings:
    """How the server runs."""

    bundle: Path
    store: str  # URL of the store with the bundle; empty: the bundle is in its folder already
    path: str  # <namespace>/<model>/<revision> in the store
    name: str
    host: str
    port: int
    threads: int  # of one inference
    workers: int  # inferences at once
    max_rows: int  # of one request: memory of an inference grows with its rows
    max_body_bytes: int  # of one request
    max_in_flight: int  # requests in flight, waiting ones included
    body_timeout: float  # seconds for a request's body to arrive
    drain_delay: float  # seconds from SIGTERM until the port closes, for endpoints to propagate
    drain_timeout: float  # seconds for the requests in flight after that
    non_finite: str  # what happens to inputs with NaN or infinities: reject or pass
    cors_origins: tuple[str, ...]  # origins of web pages that may send requests; "*" for all

    @property
    def max_in_flight_bytes(self) -> int:
        """Sum of the bodies of the requests in flight."""
        return 4 * self.max_body_bytes


def parse_settings(arguments: Sequence[str], environment: Mapping[str, str]) -> Settings:
    """Settings from the command line, then from the environment, then from the defaults.

    An invalid option ends the process with status 2 and one line that names it.
    """
    cpus = cpu_limit()
    parser = argparse.ArgumentParser(prog="python -m keras_server", description="Serve one bundle.")

    def option(flag: str, kind: Callable[[str], Any], default: Any, text: str) -> None:
        # argparse passes a default that is a string through `type`: an invalid variable is reported like a flag.
        value = environment.get(ENVIRONMENT_PREFIX + flag.replace("-", "_").upper(), default)
        shown = "" if default in (None, "") else f" (default {default})"
        parser.add_argument(f"--{flag}", type=kind, default=value, required=value is None, help=text + shown)

    option("bundle", Path, None, "the bundle folder")
    option("store", str, "", "URL of the store with the bundle; without it, the bundle folder must contain the bundle")
    option("path", str, "", "path of the bundle in the store: <namespace>/<model>/<revision>")
    option("name", str, None, "the model's name in URLs")
    option("host", str, "0.0.0.0", "address to listen on")  # noqa: S104 - a pod listens on its own addresses
    option("port", _port, 8080, "port to listen on; 0 for any free port")
    option("threads", _count, cpus, "threads of one inference; the default is the CPU limit")
    option("workers", _count, 2, "inferences at the same time")
    option("max-rows", _count, 4096, "maximum rows of one request")
    option("max-body-bytes", _count, 64 * 2**20, "maximum bytes of one request")
    option("max-in-flight", _count, 256, "requests in flight, waiting ones included; more are answered with 429")
    option("body-timeout", _seconds, 60.0, "seconds for a request's body to arrive")
    option("drain-delay", _seconds, 5.0, "seconds from SIGTERM until the port closes, for endpoints to propagate")
    option("drain-timeout", _seconds, 20.0, "seconds for the requests in flight after the port closed")
    option(
        "non-finite",
        _one_of("reject", "pass"),
        "reject",
        "inputs with NaN or an infinity: reject them, or pass them on",
    )
    option(
        "cors-origins",
        _origins,
        "",
        "origins of web pages that may send requests, such as https://example.com, separated by commas; * for all",
    )
    settings = Settings(**vars(parser.parse_args(arguments)))
    if bool(settings.store) != bool(settings.path):
        parser.error("--store and --path must be set together")
    return settings


def _one_of(*choices: str) -> Callable[[str], str]:
    def choice(text: str) -> str:
        if text not in choices:
            raise argparse.ArgumentTypeError(f"{text!r} is not {' or '.join(choices)}")
        return text

    return choice


def _origins(text: str) -> tuple[str, ...]:
    origins = tuple(origin.strip() for origin in text.split(",") if origin.strip())
    for origin in origins:
        # Browsers send origins in this form, and the server compares them as text.
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise argparse.ArgumentTypeError(
                f"{origin!r} is not an origin such as https://example.com or http://localhost:3000, in lower case and "
                "without a path, or *"
            )
    return origins


def _count(text: str) -> int:
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _port(text: str) -> int:
    # The resolver would truncate a larger number.
    if not 0 <= (value := int(text)) < 2**16:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return value


def _seconds(text: str) -> float:
    if not 0 <= (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a number of seconds")
    return value
