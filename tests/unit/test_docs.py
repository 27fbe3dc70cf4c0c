"""The documentation is correct: examples, links, names of tests and metrics, and the terms of the glossary."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from keras_api import __version__
from keras_api.log_events import LogEvent
from keras_api.manifest import Tensor
from keras_api.reasons import Reason
from keras_api.resource import KIND, parse_model
from keras_operator.components.deployment import DRAIN_DELAY_SECONDS, DRAIN_TIMEOUT_SECONDS
from keras_pipeline.validation import ValidationFile, read_validation_set

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "hack"))

import chart_values  # noqa: E402
import metrics  # noqa: E402

PAGES = sorted(
    [
        *(
            ROOT / name
            for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "hack/cluster/README.md", "findings/README.md")
        ),
        *ROOT.glob("docs/**/*.md"),
        *ROOT.glob("charts/*/*.md"),
    ]
)
MAX_TERMS = 40

# Words that the project replaced by the terms of the field.
REPLACED = re.compile(
    r"\b(?:trouble|anew|mend(?:s|ed)?|whoever|nobody|somebody|rooms|arrows?|ghosts?|last words|means nothing"
    r"|wanted revision|(?:waits?|without|needs?) (?:for )?a human|tr(?:y|ies) again by itself|at (?:rest|work)"
    r"|(?:is|are|was|were) told)\b"
    r"|(?:^|[.;|] +)(?:What|Who|So) [^?|]*?[.|]",  # a sentence that starts with a relative clause; questions are fine
    re.MULTILINE,
)


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^ *```{language}\n(.*?)^ *```", page.read_text(), re.MULTILINE | re.DOTALL)


def prose(page: Path) -> str:
    """A page without its code."""
    return re.sub(r"`[^`\n]*`", "`code`", re.sub(r"^ *```.*?^ *```$", "", page.read_text(), flags=re.M | re.S))


def shown() -> list[tuple[str, dict]]:
    documents = [
        (name_of(page), document)
        for page in PAGES
        for block in blocks(page, "yaml")
        for document in yaml.safe_load_all(block)
    ]
    for path in ROOT.glob("examples/**/*.yaml"):
        documents += [(name_of(path), document) for document in yaml.safe_load_all(path.read_text())]
    return [(name, document) for name, document in documents if document and document.get("kind") == KIND]


@pytest.mark.parametrize(("source", "document"), shown())
def test_every_kerasmodel_in_the_documentation_is_valid(source, document):
    assert parse_model(document).metadata.name


def test_the_readme_shows_a_kerasmodel():
    assert "README.md" in {source for source, _ in shown()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_json_example_is_valid(page):
    for block in blocks(page, "json"):
        for line in block.splitlines():
            json.loads(line)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_python_example_compiles(page):
    for block in blocks(page, "python"):
        compile(block, name_of(page), "exec")


def test_the_chart_and_the_code_have_the_same_version():
    chart = yaml.safe_load((ROOT / "charts/keras-operator/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub derives them."""
    headings = re.findall(r"^#+ (.+)$", prose(page).replace("`code`", ""), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_page_and_a_heading(page):
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", prose(page)):
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{name_of(page)} links to {target}, which does not exist"
        assert not anchor or anchor in anchors(path), (
            f"{name_of(page)} links to {target}#{anchor}, which does not exist"
        )


def test_every_page_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text()
    for page in ROOT.glob("docs/*/*.md"):
        assert f"({page.relative_to(ROOT / 'docs')})" in index


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_page_uses_the_terms_of_the_field(page):
    assert [found[0] for found in REPLACED.finditer(prose(page))] == []


def terms() -> list[tuple[str, str]]:
    return re.findall(r"^\| \*\*(.+)\*\* \| (.+) \|$", (ROOT / "docs/reference/glossary.md").read_text(), re.MULTILINE)


def test_the_glossary_has_few_terms_in_alphabetical_order():
    names = [name for name, _ in terms()]
    assert 20 < len(names) <= MAX_TERMS
    assert names == sorted(names, key=str.lower)


@pytest.mark.parametrize(("term", "meaning"), terms())
def test_every_term_has_a_meaning_of_one_sentence(term, meaning):
    assert re.fullmatch(r"[A-Z][^.]*(?:\.json[^.]*|`[^`]+`[^.]*)*\.", meaning), term


def test_the_examples_of_validation_data_are_read_as_described(tmp_path):
    one, several = blocks(ROOT / "docs/guides/sources.md", "csv")
    file = tmp_path / "data.csv"
    file.write_text(one)
    found = read_validation_set(ValidationFile(file), [Tensor(name="measures", dtype="float32", shape=[-1, 4])])
    assert found.inputs["measures"].shape == (2, 4)
    assert found.labels.tolist() == [0, 2]

    file.write_text(several)
    inputs = {"age": ("float32", [-1, 1]), "pixels": ("float32", [-1, 3]), "title": ("string", [-1])}
    tensors = [Tensor(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in inputs.items()]
    found = read_validation_set(ValidationFile(file), tensors)
    assert found.inputs["age"].tolist() == [[37], [52]]
    assert found.inputs["pixels"].shape == (2, 3)
    assert found.inputs["title"].tolist() == ["A night, at sea", "Roses"]


def test_the_times_of_a_graceful_shutdown_are_those_of_the_deployment():
    page = (ROOT / "docs/guides/serving.md").read_text()
    (section,) = re.findall(r"^## Graceful shutdown\n\n(.*?)\n\n", page, re.MULTILINE | re.DOTALL)
    assert re.findall(r"\d+(?=\sseconds)", section) == [str(DRAIN_DELAY_SECONDS), str(DRAIN_TIMEOUT_SECONDS)]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason):
    assert f"\n## {reason}\n" in (ROOT / "docs/reference/troubleshooting.md").read_text()


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "CHANGELOG.md"], ids=name_of)
def test_every_metric_in_the_documentation_exists(page):
    known = {metric.name for found in metrics.metrics().values() for metric in found}
    named = re.findall(r"\b(?:keras_(?!operator_dev_)(?:operator|server|store)|workqueue)_\w+", page.read_text())
    assert {re.sub(r"_(?:bucket|sum|count)$", "", name) for name in named} <= known


@pytest.mark.parametrize("value", chart_values.values(), ids=lambda value: value.path)
def test_every_chart_value_is_described(value):
    assert value.description.endswith(".")


def test_every_log_event_is_described():
    (row,) = re.findall(r"^\| `event` \| (.+) \|$", (ROOT / "docs/guides/monitoring.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", row)) == sorted(LogEvent)


def test_the_layers_on_the_architecture_page_are_those_of_the_contract():
    page = (ROOT / "docs/internals/architecture.md").read_text()
    (section,) = re.findall(r"^## Layers of keras_operator\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)
    shown = [re.findall(r"`(\w+)`", row) for row in re.findall(r"^\| (`[^|]+) \|", section, re.MULTILINE)]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (contract,) = [each for each in contracts if each["name"].startswith("Layers of keras_operator")]
    assert shown == [re.findall(r"keras_operator\.(\w+)", layer) for layer in contract["layers"]]


@pytest.mark.parametrize(
    ("registry", "path"),
    re.findall(r"\| `([A-Z]+)` in `(\S+)` \|", (ROOT / "docs/internals/architecture.md").read_text()),
)
def test_every_registry_on_the_architecture_page_exists(registry, path):
    assert re.search(rf"^{registry}\b.* = ", (ROOT / "operator" / path).read_text(), re.MULTILINE)


def guaranteed() -> list[str]:
    return sorted(set(re.findall(r"`(tests/[^`]+::[^`]+)`", (ROOT / "docs/internals/guarantees.md").read_text())))


@pytest.mark.parametrize("test", guaranteed())
def test_every_test_of_a_guarantee_exists(test):
    path, name = test.split("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {name}"


def test_every_guarantee_names_its_test():
    rows = re.findall(
        r"^\|(?! guarantee|---)(.+)\|$", (ROOT / "docs/internals/guarantees.md").read_text(), re.MULTILINE
    )
    assert len(rows) > 50
    assert [row for row in rows if "::" not in row] == []
