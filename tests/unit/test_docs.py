"""What README, docs and examples show is so: KerasModels that the operator reads, links, reasons, names of tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from keras_api import __version__
from keras_api.manifest import Tensor
from keras_api.reasons import Reason
from keras_api.resource import KIND, parse_model
from keras_operator.render.deployment import DRAIN_DELAY_SECONDS, DRAIN_TIMEOUT_SECONDS
from keras_pipeline import validation

ROOT = Path(__file__).resolve().parents[2]


def shown() -> list[tuple[str, dict]]:
    documents = []
    for path in [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("charts/*/*.md")]:
        for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.MULTILINE | re.DOTALL):
            documents += [(path.name, document) for document in yaml.safe_load_all(block)]
    for path in ROOT.glob("examples/**/*.yaml"):
        documents += [(path.name, document) for document in yaml.safe_load_all(path.read_text())]
    return [(name, document) for name, document in documents if document and document.get("kind") == KIND]


@pytest.mark.parametrize(("source", "document"), shown())
def test_every_kerasmodel_shown_is_one_the_operator_reads(source, document):
    assert parse_model(document).metadata.name


def test_the_chart_is_of_the_version_of_the_code():
    chart = yaml.safe_load((ROOT / "charts/keras-operator/Chart.yaml").read_text())
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_readme_shows_a_kerasmodel():
    assert "README.md" in {source for source, _ in shown()}


@pytest.mark.parametrize(
    "page",
    ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in sorted(ROOT.glob("docs/**/*.md")))],
)
def test_links_between_pages_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{page} links to {target}, which is not there"


def test_the_validation_data_shown_is_read_as_is_said(tmp_path):
    page = (ROOT / "docs/guides/serving.md").read_text()
    one, several = re.findall(r"^```csv\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    file = tmp_path / "data.csv"
    file.write_text(one)
    found = validation.read(file, "label", [Tensor(name="measures", dtype="float32", shape=[-1, 4])])
    assert found.inputs["measures"].shape == (2, 4)
    assert found.labels.tolist() == [0, 2]

    file.write_text(several)
    inputs = {"age": ("float32", [-1, 1]), "pixels": ("float32", [-1, 3]), "title": ("string", [-1])}
    found = validation.read(
        file, "label", [Tensor(name=name, dtype=dtype, shape=shape) for name, (dtype, shape) in inputs.items()]
    )
    assert found.inputs["age"].tolist() == [[37], [52]]
    assert found.inputs["pixels"].shape == (2, 3)
    assert found.inputs["title"].tolist() == ["A night, at sea", "Roses"]


def test_the_time_that_a_server_has_to_end_is_the_one_that_is_told():
    page = (ROOT / "docs/guides/serving.md").read_text()
    (told,) = re.findall(r"^## When a server ends\n\n(.*?)\n\n", page, re.M | re.S)
    assert re.findall(r"\d+(?=\sseconds)", told) == [str(DRAIN_DELAY_SECONDS), str(DRAIN_TIMEOUT_SECONDS)]


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason):
    assert f"\n## {reason}\n" in (ROOT / "docs/reference/troubleshooting.md").read_text()


def promised() -> list[str]:
    return sorted(set(re.findall(r"`(tests/[^`]+::[^`]+)`", (ROOT / "docs/internals/guarantees.md").read_text())))


@pytest.mark.parametrize("test", promised())
def test_every_test_that_proves_a_guarantee_exists(test):
    path, name = test.split("::")
    assert re.search(rf"^(async )?def {name}\(", (ROOT / path).read_text(), re.MULTILINE), f"{path} has no {name}"


def test_every_guarantee_names_its_test():
    rows = re.findall(r"^\|(?! promise|---)(.+)\|$", (ROOT / "docs/internals/guarantees.md").read_text(), re.MULTILINE)
    assert len(rows) > 50
    assert [row for row in rows if "::" not in row] == []
