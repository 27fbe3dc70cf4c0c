"""Failures of `make demo` and `make down`, with a kubectl that needs no cluster."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from obstore.store import S3Store

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "hack"))

import demo  # noqa: E402
import kubectl  # noqa: E402


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl and a helm that write their commands to this file; kubectl prints fixed output."""
    log = tmp_path / "commands"
    log.touch()
    for name in ("kubectl", "helm"):
        program = tmp_path / name
        program.write_text(
            f'''#!/bin/sh
echo "{name} $*" >> {log}
case "$*" in
  "get crd "*) echo crd/kerasmodels.keras-operator.dev ;;
  "get kerasmodels --all-namespaces"*) printf "default/digits\\nteam-a/letters\\n" ;;
  "describe kerasmodel"*) echo "the layer fft cannot be converted" ;;
  port-forward*) exec sleep 60 ;;
esac
'''
        )
        program.chmod(0o755)
    monkeypatch.setattr(kubectl, "environment", lambda: {"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    return log


def _fail() -> None:
    raise kubectl.CommandError("KerasModel digits is stalled")


def test_a_failed_demo_prints_the_cause_and_the_output_of_kubectl(
    commands: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "OWN_CLUSTER", False)
    monkeypatch.setenv("IMAGE_REGISTRY", "registry.example.com")
    monkeypatch.setattr(demo, "STEPS", [("wait for Ready", _fail), ("never reached", pytest.fail)])

    assert demo.main() == 1
    output = capsys.readouterr().err
    assert "$ kubectl describe kerasmodel digits -n default\nthe layer fft cannot be converted\n" in output
    assert output.splitlines()[-1] == "wait for Ready: KerasModel digits is stalled"


def test_a_failed_upload_is_reported_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    @contextmanager
    def nowhere() -> Iterator[S3Store]:
        yield S3Store(
            "models",
            endpoint="http://127.0.0.1:1",
            region="us-east-1",
            access_key_id="a",
            secret_access_key="b",
            client_options={"allow_http": True},
            retry_config={"max_retries": 0},
        )

    monkeypatch.setattr(demo.s3, "bucket", nowhere)
    monkeypatch.setattr(demo, "FILES", tmp_path)
    (tmp_path / "digits.keras").write_bytes(b"a model")
    with pytest.raises(kubectl.CommandError) as raised:
        demo.upload()
    assert str(raised.value).startswith("the upload of s3://models/digits/digits.keras failed: ")
    assert len(str(raised.value).splitlines()) == 1


def test_a_script_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(kubectl.CommandError, match="did not end within"):
        demo.script("sh", "-c", f"(sleep 1; touch {tmp_path}/done) & wait", timeout=0.2)
    time.sleep(1.5)
    assert not (tmp_path / "done").exists()


def test_a_port_forward_without_output_is_an_error(commands: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kubectl, "FORWARD_SECONDS", 0.2)
    with (
        pytest.raises(kubectl.CommandError, match="printed nothing for"),
        kubectl.port_forward("service/digits", "default", 8080),
    ):
        pass


def test_down_does_not_remove_other_models(commands: Path) -> None:
    settings = {"CLUSTER": "current", "PATH": f"{commands.parent}:{os.environ['PATH']}"}
    command = [sys.executable, ROOT / "hack/down.py"]
    result = subprocess.run(
        command, env={**os.environ, **settings}, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert result.stderr.startswith("team-a/letters: these KerasModels do not belong to the demo")
    assert "delete" not in commands.read_text()
    assert "helm" not in commands.read_text()
