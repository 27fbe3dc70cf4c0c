"""The state of the cluster in the report of a failing e2e test: all objects in the namespaces of its module."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import kubectl as k8s
import pytest

_NAMESPACES = pytest.StashKey[list[str]]()


def namespaces_of(node: pytest.Item | pytest.Collector) -> list[str]:
    """The namespaces of a test's module; a fixture that creates one adds it."""
    module = node.getparent(pytest.Module)
    assert module is not None
    return module.stash.setdefault(_NAMESPACES, [])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Add the state of the cluster to the report of a test that fails, or whose fixture fails."""
    report = yield
    if report.failed and (namespaces := namespaces_of(item)):
        report.sections.append(("state of the cluster", describe(namespaces)))
    return report


def describe(namespaces: Sequence[str]) -> str:
    """The resources, Events and last log lines of the namespaces, and the log of the operator."""
    logs = ("logs", "--prefix", "--all-containers")
    commands: list[tuple[str, ...]] = []
    for name in namespaces:
        commands += [
            ("get", "kerasmodels", "-n", name, "-o", "yaml", "--show-managed-fields=false"),
            ("get", "all,pvc,servicemonitors", "-n", name, "-o", "wide"),
            ("get", "events", "-n", name, "--sort-by=.lastTimestamp"),
            (*logs, "--tail=30", "--ignore-errors", "-n", name, "-l", "app.kubernetes.io/managed-by=keras-operator"),
        ]
    commands.append((*logs, "--tail=60", "-n", "keras-system", "-l", "app.kubernetes.io/part-of=keras-operator"))
    return "\n\n".join(f"$ kubectl {' '.join(command)}\n{_output(command)}" for command in commands)


def _output(command: tuple[str, ...]) -> str:
    """The output of kubectl, or its error, which must not hide the failure of the test."""
    try:
        return k8s.kubectl(*command, check=False)
    except (k8s.CommandError, OSError, UnicodeDecodeError) as error:
        return f"no output: {error}"
