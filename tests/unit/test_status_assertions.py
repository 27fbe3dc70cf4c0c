"""The report of a failing e2e test contains the state of the cluster, whether the test or a fixture failed."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

E2E = Path(__file__).resolve().parents[1] / "e2e"

KUBECTL = """
class CommandError(RuntimeError):
    pass

def kubectl(*arguments, check):
    if "events" in arguments:
        raise CommandError("it did not end within 120 s")
    return "OF " + arguments[arguments.index("-n") + 1]
"""
CONFTEST = """
import pytest
from status_assertions import namespaces_of, pytest_runtest_makereport

@pytest.fixture(scope="module")
def new_namespace(request):
    return namespaces_of(request.node).append
"""
# A module whose fixture fails, one whose test fails and uses no namespace itself, and one that passes.
BROKEN_FIXTURE = """
import pytest

@pytest.fixture(scope="module")
def models(new_namespace):
    new_namespace("first")
    new_namespace("second")
    raise RuntimeError("the fixture broke")

def test_it(models):
    pass
"""
BROKEN_TEST = """
import pytest

@pytest.fixture(scope="module")
def models(new_namespace):
    new_namespace("third")

def test_it(models):
    raise RuntimeError("the test broke")
"""


@pytest.fixture
def printed(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> str:
    """The output of a run of these modules."""
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(
        kubectl=KUBECTL,
        test_broken_fixture=BROKEN_FIXTURE,
        test_broken_test=BROKEN_TEST,
        test_passing=BROKEN_TEST.replace("third", "fourth").replace("raise RuntimeError", "print"),
    )
    monkeypatch.setenv("PYTHONPATH", str(E2E))
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")
    result.assert_outcomes(passed=1, failed=1, errors=1)
    return str(result.stdout)


def test_a_failure_prints_every_namespace_of_its_module(printed: str):
    fixture, test = printed.split("the test broke", 1)
    for name in ("first", "second"):
        assert f"$ kubectl get kerasmodels -n {name}" in fixture
        assert f"OF {name}" in fixture
    assert "OF third" in test
    assert "OF third" not in fixture
    assert "OF fourth" not in printed
    assert fixture.count("OF keras-system") == 1, "the operator's log is printed once"


def test_a_failing_kubectl_does_not_hide_the_failure_of_the_test(printed: str):
    assert "RuntimeError: the fixture broke" in printed
    assert "$ kubectl get events -n first --sort-by=.lastTimestamp\nno output: it did not end within 120 s" in printed
    assert "INTERNALERROR" not in printed
