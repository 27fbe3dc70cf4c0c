"""A wait for a lock reports the purpose and the holder, and has a limit."""

import os
import threading
from pathlib import Path

import pytest
from cluster import locks
from cluster.console import ClusterError
from cluster.paths import CLONE


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(locks, "REMIND_SECONDS", 0.05)


def test_a_wait_is_reported_repeatedly_with_purpose_and_holder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # flock applies to open files, so one process can wait for itself.
    with locks.hold(tmp_path / "lock", "nothing"):
        waiting = threading.Thread(target=_hold, args=[tmp_path / "lock"])
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(10)
    first, second, *_ = capsys.readouterr().err.splitlines()
    assert f"waiting for a build, by process {os.getpid()} of {CLONE} (lock {tmp_path}/lock)" in first
    assert "still waiting for a build" in second


def test_a_free_lock_is_taken_without_a_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _hold(tmp_path / "lock")
    _hold(tmp_path / "lock")
    assert capsys.readouterr().err == ""


def test_a_wait_ends_at_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "LIMIT_SECONDS", 0.1)
    with (
        locks.hold(tmp_path / "lock", "nothing"),
        pytest.raises(ClusterError, match=r"a build, by process \d+ of .* 0:00"),
    ):
        _hold(tmp_path / "lock")


def _hold(lock: Path) -> None:
    with locks.hold(lock, "a build"):
        pass
