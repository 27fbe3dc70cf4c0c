"""Logging of all programs: each event is one line on stderr, as JSON for machines or as text for people.

Fields of JSON lines: `time` (UTC, ISO 8601), `level`, `logger`, `message`, the fields of the event (`fields`), and with
an error `exception`, the traceback.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

PACKAGES = ("keras_api", "keras_operator", "keras_pipeline", "keras_runtimes", "keras_server", "keras_store")
"""The packages of this distribution: the level of their loggers is that of `set_up`."""

_FIELDS = "fields"


def set_up(*, level: str = "INFO", libraries: str = "WARNING", style: str = "json") -> None:
    """Log to stderr.

    Args:
        level: minimum level of the records of this distribution.
        libraries: minimum level of all other records.
        style: ``json`` or ``text``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    logging.basicConfig(level=libraries, handlers=[handler])
    for package in PACKAGES:
        logging.getLogger(package).setLevel(level)


def fields(**values: Any) -> Mapping[str, Any]:
    """The fields of an event, as the parameter `extra`: ``log.info("listening", extra=fields(port=8080))``."""
    return {_FIELDS: values}


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """See `logging.Formatter.format`."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        try:
            return msgspec.json.encode(line, enc_hook=str).decode()
        except UnicodeEncodeError:  # a file name need not be valid text
            return msgspec.json.encode({key: _encodable(value) for key, value in line.items()}).decode()


class TextFormatter(logging.Formatter):
    """A record as one line of text, with its fields behind the message."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - the name is the base class's
        """See `logging.Formatter.formatMessage`."""
        values = getattr(record, _FIELDS, {})
        return super().formatMessage(record) + "".join(f" {name}={value}" for name, value in values.items())


def _encodable(value: Any) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode()
