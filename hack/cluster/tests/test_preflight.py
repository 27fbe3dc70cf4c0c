"""A machine that cannot run the cluster gets an error message of one sentence."""

import os
import re
import socket

import pytest
from cluster import preflight
from cluster.cli import main
from cluster.console import ClusterError


def test_a_port_in_use_is_reported_with_the_program() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        (sentence,) = preflight.taken({"etcd": port})
    assert re.fullmatch(rf"port {port}, which etcd needs, is in use by \S.* \(pid {os.getpid()}\): .*", sentence)


def test_a_free_port_is_not_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert not list(preflight.taken({"etcd": port}))


def test_without_root_the_cluster_reports_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ClusterError, match="the cluster needs root"):
        preflight.require_root()


def test_the_command_line_prints_a_sentence_instead_of_a_stack_trace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert main(["up"]) == 1
    output = capsys.readouterr().err
    assert "error: the cluster needs root" in output
    assert "Traceback" not in output
