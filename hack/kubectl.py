"""The cluster of the demo and the e2e tests: runs kubectl and helm as commands, and forwards ports.

The cluster is the one of `make cluster`, or with CLUSTER=current the current kubeconfig context.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# kubectl requests the pod from the API server and the connection from the kubelet before its first output.
FORWARD_SECONDS = 30
OWN_CLUSTER = os.environ.get("CLUSTER") != "current"
_BIN = ROOT / "hack/cluster/bin"
_KUBECONFIG = ROOT / "hack/cluster/kubeconfig"


class CommandError(RuntimeError):
    """A command failed; the text contains its output."""


def environment() -> dict[str, str]:
    """Environment in which `kubectl` and `helm` reach the cluster."""
    if not OWN_CLUSTER:
        return dict(os.environ)
    return {**os.environ, "KUBECONFIG": str(_KUBECONFIG), "PATH": f"{_BIN}:{os.environ['PATH']}"}


def run(*command: str, stdin: str | None = None, timeout: float = 120, check: bool = True) -> str:
    """Run a command against the cluster and return its output.

    Raises:
        CommandError: the command fails or takes longer than `timeout` seconds; the text contains its output.
    """
    if not shutil.which(command[0], path=environment()["PATH"]):
        raise CommandError(
            f"{command[0]} is not in PATH: run `make cluster`, or with CLUSTER=current install {command[0]}"
        )
    try:
        result = subprocess.run(
            command, input=stdin, capture_output=True, text=True, timeout=timeout, env=environment(), check=False
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(f"`{' '.join(command)}` did not end within {timeout:.0f} s") from error
    if check and result.returncode:
        raise CommandError(f"`{' '.join(command)}` failed: {result.stderr.strip() or result.stdout.strip()}")
    return result.stdout


def kubectl(*arguments: str, stdin: str | None = None, timeout: float = 120, check: bool = True) -> str:
    """Run kubectl and return its output."""
    return run("kubectl", *arguments, stdin=stdin, timeout=timeout, check=check)


def apply(*objects: Mapping[str, Any], namespace: str | None = None) -> None:
    """Run `kubectl apply` with objects."""
    document = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
    kubectl("apply", *(["-n", namespace] if namespace else []), "-f", "-", stdin=document)


def get(kind: str, name: str, namespace: str) -> dict[str, Any] | None:
    """An object, or None if it does not exist."""
    text = kubectl("get", kind, name, "-n", namespace, "-o", "json", "--ignore-not-found")
    return json.loads(text) if text.strip() else None


def get_list(kind: str, namespace: str, selector: str = "") -> list[dict[str, Any]]:
    """The objects of a kind in a namespace."""
    items: list[dict[str, Any]] = json.loads(kubectl("get", kind, "-n", namespace, "-l", selector, "-o", "json"))[
        "items"
    ]
    return items


@contextmanager
def port_forward(target: str, namespace: str, port: int) -> Iterator[str]:
    """Forward a free port of 127.0.0.1 to a pod or service until the context ends; yields the address.

    Raises:
        CommandError: kubectl fails, or does not forward within 30 s.
    """
    command = ["kubectl", "port-forward", "-n", namespace, target, f":{port}"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment()
    ) as process:
        try:
            assert process.stdout is not None
            readable, _, _ = select.select([process.stdout], [], [], FORWARD_SECONDS)
            if not readable:
                raise CommandError(f"`{' '.join(command)}` printed nothing for {FORWARD_SECONDS} s: check the pod")
            line = process.stdout.readline()
            match = re.search(r"127\.0\.0\.1:(\d+)", line)
            if not match:
                raise CommandError(f"`{' '.join(command)}` failed: {line.strip()}")
            yield f"http://127.0.0.1:{match[1]}"
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
