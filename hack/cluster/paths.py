"""Paths: of this clone, of the cache that all clones share, and of the machine."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLONE = HERE.parent.parent

# Of this clone.
BIN = HERE / "bin"
KUBECONFIG = HERE / "kubeconfig"

# Shared by all clones of this user. `down` keeps them.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras-operator"
BUILDS = CACHE / "bin"
TOOLCHAINS = CACHE / "toolchains"
BUILDAH = CACHE / "buildah"
REGISTRY = CACHE / "registry"
CONTAINERD = CACHE / "containerd"

# Of the running cluster. Empty at a start.
STATE = CACHE / "cluster"

# Of the machine. Removed by a reboot, like the mounts and devices that it records.
RUN = Path("/run/keras-operator")
