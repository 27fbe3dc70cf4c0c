"""Where everything lies: what clones share (the cache), what the machine has once, and what belongs to this clone."""

import os
from pathlib import Path

HERE = Path(__file__).resolve().parent
CLONE = HERE.parent.parent

# This clone's.
BIN = HERE / "bin"
KUBECONFIG = HERE / "kubeconfig"

# Shared by all clones of this user, kept by `down`.
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "keras-operator"
BUILDS = CACHE / "bin"
TOOLCHAINS = CACHE / "toolchains"
BUILDAH = CACHE / "buildah"
REGISTRY = CACHE / "registry"
CONTAINERD = CACHE / "containerd"

# The one running cluster's; a fresh start begins with it empty.
STATE = CACHE / "cluster"

# The machine's: gone after a reboot, as are the mounts and devices that it tells of.
RUN = Path("/run/keras-operator")
