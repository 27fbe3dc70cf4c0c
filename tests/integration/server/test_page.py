"""The examples in docs/guides/serving.md show the responses of a real server."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from keras_server.http_front.errors import CONNECTION_STATUS, STATUS
from keras_server.settings import Settings, parse_settings

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "hack"))

from cluster import toolchain  # noqa: E402

PAGE = (ROOT / "docs/guides/serving.md").read_text()
ADDRESS = "127.0.0.1:8080"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> Iterator[tuple[str, str]]:
    """Each command on the page, and its output on the page."""
    for block in blocks("console"):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            lines = entry.splitlines()
            ends = next(index for index in range(len(lines)) if _is_whole("\n".join(lines[: index + 1])))
            yield "\n".join(lines[: ends + 1]), "\n".join(lines[ends + 1 :])


def _is_whole(command: str) -> bool:
    return not command.endswith("\\") and command.count("'") % 2 == 0


@pytest.fixture
def flowers(serving: Callable[[str], Any]) -> Any:
    """The model on the page, which no other test uses."""
    return serving("flowers")


def test_every_command_has_the_output_on_the_page(flowers: Any, tmp_path: Path) -> None:
    toolchain.ensure_packages({"curl": "curl"})
    shown = list(commands())
    assert len(shown) > 5
    for command, expected in shown:
        script = command.replace(ADDRESS, f"127.0.0.1:{flowers.port}")
        output = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, stdout=subprocess.PIPE, text=True, timeout=60, check=True
        ).stdout
        assert _shows(expected, output), f"{command}\nhas this output on the page:\n{expected}\nbut printed:\n{output}"


def _shows(expected: str, output: str) -> bool:
    """Whether an output is as on the page. White space in JSON does not matter, and "..." matches any text."""
    if expected.startswith("{"):
        return _matches(json.loads(expected), json.loads(output))
    pattern = re.escape(expected.strip()).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, output.strip(), re.DOTALL) is not None


def _matches(expected: object, answer: object) -> bool:
    if isinstance(expected, dict) and isinstance(answer, dict):
        return expected.keys() == answer.keys() and all(_matches(each, answer[key]) for key, each in expected.items())
    return expected in ("...", answer)


def test_the_program_prints_the_output_in_its_comment(flowers: Any) -> None:
    (program,) = blocks("python")
    output = subprocess.run(
        [sys.executable, "-c", program.replace(ADDRESS, f"127.0.0.1:{flowers.port}")],
        stdout=subprocess.PIPE,
        text=True,
        timeout=60,
        check=True,
    ).stdout
    assert output.strip() == program.rpartition("# ")[2].strip()


def _table(heading: str) -> dict[str, list[str]]:
    """The cells of the table whose first column has this heading, by that column."""
    table = re.search(rf"^\| {heading} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    assert table is not None, f"there is no table of {heading}"
    rows = [[cell.strip(" `") for cell in row.strip("|\n").split("|")] for row in table[1].splitlines()]
    return {name: cells for name, *cells in rows}


def test_every_metric_of_the_server_is_documented(flowers: Any) -> None:
    documented = re.findall(r"^\| `(keras_server_\w+)`", (ROOT / "docs/reference/metrics.md").read_text(), re.MULTILINE)
    exposed = re.findall(r"^# TYPE (keras_server_\w+) ", flowers.get("/metrics").body.decode(), re.MULTILINE)
    assert sorted(documented) == sorted(name for name in exposed if not name.endswith("_created"))


def test_every_status_of_an_error_is_documented() -> None:
    assert list(_table("status")) == sorted({str(status.value) for status in (*STATUS.values(), *CONNECTION_STATUS)})


def test_the_limits_have_the_documented_defaults() -> None:
    defaults: Settings = parse_settings(["--bundle", "b", "--name", "n"], {})
    for variable, (default, _) in _table("variable").items():
        option = variable.removeprefix("KERAS_SERVER_").lower()
        assert float(default) == getattr(defaults, option), variable


@pytest.mark.parametrize("address", ["/v2/health/live", "/v2/health/ready", "/v2/models/flowers/ready"])
def test_every_health_endpoint_on_the_page_answers(flowers: Any, address: str) -> None:
    assert address.replace("flowers", "NAME") in _table("address")
    assert flowers.get(address).status == 200
