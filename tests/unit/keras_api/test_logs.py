"""All programs log in one format."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from keras_api.logs import PACKAGES, JsonFormatter, TextFormatter, fields

OPERATOR = Path(__file__).resolve().parents[3] / "operator"


def record(message: str, *arguments: Any, error: BaseException | None = None, **values: Any) -> logging.LogRecord:
    exc_info = (type(error), error, error.__traceback__) if error else None
    made = logging.LogRecord("keras_server.server", logging.INFO, "file.py", 1, message, arguments, exc_info)
    made.created = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC).timestamp()
    made.__dict__.update(fields(**values))
    return made


def test_a_line_is_an_object_with_time_level_logger_message_and_fields() -> None:
    line = JsonFormatter().format(record("%d rows", 3, event="bundle_download", path=Path("a/b"), seconds=0.5))

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-01-02T03:04:05.678+00:00",
        "level": "info",
        "logger": "keras_server.server",
        "message": "3 rows",
        "event": "bundle_download",
        "path": "a/b",
        "seconds": 0.5,
    }


@pytest.mark.parametrize("values", [{}, {"path": "\udcff.keras"}], ids=["message", "field"])
def test_text_that_is_not_unicode_is_logged_all_the_same(values: dict[str, str]) -> None:
    line = json.loads(JsonFormatter().format(record("the file \udcff.keras", **values)))

    assert line["message"] == "the file \\udcff.keras"
    assert line.get("path", "\\udcff.keras") == "\\udcff.keras"


def test_an_exception_is_a_field_of_its_line() -> None:
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError as error:
        line = JsonFormatter().format(record("it failed", error=error))

    assert "\n" not in line
    assert json.loads(line)["exception"].endswith("ZeroDivisionError: division by zero")


def test_text_has_the_fields_behind_the_message() -> None:
    assert (
        TextFormatter()
        .format(record("ready", model="m", seconds=1))
        .endswith(" INFO    keras_server.server: ready model=m seconds=1")
    )


def test_the_packages_log_from_their_level_on_and_libraries_from_theirs() -> None:
    program = (
        "import logging\n"
        "from keras_api import logs\n"
        "logs.set_up(level='INFO', libraries='WARNING')\n"
        "for name in ('keras_server.model', 'aiohttp'):\n"
        "    for level in (logging.DEBUG, logging.INFO, logging.WARNING):\n"
        "        logging.getLogger(name).log(level, 'x')\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["logger"], line["level"]) for line in lines] == [
        ("keras_server.model", "info"),
        ("keras_server.model", "warning"),
        ("aiohttp", "warning"),
    ]


def test_every_package_of_the_distribution_has_the_level() -> None:
    assert {path.parent.name for path in OPERATOR.glob("*/__init__.py")} == set(PACKAGES)
