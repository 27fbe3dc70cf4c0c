"""The scripts in findings/ are described, install fixed versions, and are in the README. `make findings` runs them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "findings"
SCRIPTS = sorted(path for path in FOLDER.glob("*.sh") if path.name != "lib.sh")


def head(script: Path) -> tuple[str, dict[str, str]]:
    """The surprise in one sentence, and the sections by name."""
    comment = re.match(r"#!.*\n((?:#.*\n)+)set -euo pipefail\n", script.read_text())
    assert comment, "the head comment is followed by set -euo pipefail"
    surprise, sections = re.sub(r"^# ?", "", comment[1], flags=re.MULTILINE).split("\n\n")
    found = re.findall(r"^([A-Z]\w+): +(.*(?:\n .*)*)", sections, re.MULTILINE)
    return " ".join(surprise.split()), dict(found)


def test_the_readme_lists_every_script_with_its_surprise():
    rows = re.findall(r"^\| \[(.+)\]\((.+)\) \| .+ \| (.+) \|$", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert rows == [(script.stem, script.name, head(script)[0]) for script in SCRIPTS]
    assert len(rows) >= 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_script_describes_itself_and_installs_fixed_versions(script):
    surprise, sections = head(script)
    assert surprise.endswith(".")
    assert list(sections) == ["Guess", "Fact", "Versions", "Output", "Relevance"]
    assert re.match(r"\(\d{4}-\d\d-\d\d[;)]", sections["Output"])

    (packages,) = re.findall(r"^install (.+)$", script.read_text(), re.MULTILINE)
    installed = dict(package.split("==") for package in packages.split())
    described = dict(re.findall(r"([a-z][\w-]+) (\d[\d.]*\d)", sections["Versions"]))
    assert described.items() <= installed.items()
    assert installed.keys() - described.keys() <= {"numpy"}
