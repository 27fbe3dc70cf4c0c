"""The images contain no tools to install or build software."""

from __future__ import annotations

import json
import uuid

import kubectl as k8s
import pytest

# Prints the modules that can be imported and the programs that can be run.
PROGRAM = """
import importlib.util, json, shutil, sys
modules = ["pip", "ensurepip", "setuptools", "pkg_resources", "wheel"]
programs = ["pip", "pip3", "gcc", "cc", "g++", "c++", "clang", "ld", "as", "make", "cmake", "go", "cargo", "rustc"]
found = [name for name in modules if importlib.util.find_spec(name)] + [name for name in programs if shutil.which(name)]
print(json.dumps({"found": found, "base": sys.base_prefix}))
"""


@pytest.mark.parametrize("python", ["python", "python3 of the base"])
@pytest.mark.parametrize("image", ["operator", "server", "pipeline"])
def test_an_image_contains_no_tools_to_install_or_build(namespace: str, image: str, python: str) -> None:
    name = f"find-tools-{uuid.uuid4().hex[:6]}"
    settings = dict(line.split("=", 1) for line in (k8s.ROOT / ".build/images.env").read_text().splitlines())
    # Without the virtual environment in PATH, python3 is that of the base image.
    path = [] if python == "python" else [{"name": "PATH", "value": "/usr/local/bin:/usr/bin:/bin"}]
    container = {
        "name": "find-tools",
        "image": f"{settings['IMAGE_PREFIX']}/{image}:{settings['TAG']}",
        "command": ["python3", "-c", PROGRAM],
        "env": path,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "containers": [container],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    k8s.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}, namespace=namespace)
    k8s.kubectl("wait", f"pod/{name}", "-n", namespace, "--for=jsonpath={.status.phase}=Succeeded", "--timeout=100s")
    assert json.loads(k8s.kubectl("logs", name, "-n", namespace))["found"] == []
