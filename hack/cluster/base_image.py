"""The base image without an image hub: a minimal Debian with Python, created by debootstrap."""

import hashlib
import re
import shutil
from pathlib import Path

from cluster import mounts, toolchain
from cluster.commands import run
from cluster.console import ClusterError, step
from cluster.images import buildah_command
from cluster.locks import hold
from cluster.paths import CACHE
from cluster.preflight import require_root

PACKAGES = ("ca-certificates", "python3", "python3-venv")

# Files that no program reads at run time. The only documentation that is kept is the copyright file of each package.
SLIMMED = (
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/pixmaps",
    "var/cache",
    "var/lib/apt/lists",
    "var/log",
    "tmp",
)
# Increase this when the steps below change. A base image of another recipe is built again.
_RECIPE = 1
_RECIPE_LABEL = "dev.keras-operator.recipe"


def ensure() -> str:
    """Build the base image if it does not exist; returns its name."""
    require_root()
    toolchain.ensure_packages(toolchain.BASE_IMAGE_PACKAGES)
    suite = codename(Path("/etc/os-release").read_text())
    name = f"localhost/keras-operator-base:{suite}"
    recipe = hashlib.sha256(repr((suite, PACKAGES, SLIMMED, _RECIPE)).encode()).hexdigest()[:12]
    buildah = buildah_command()
    with hold(CACHE / "base-image.lock", "another build of the base image"):
        if not _is_there(buildah, name, recipe):
            with step(f"building the base image {name} with debootstrap"):
                _make(buildah, name, suite, recipe)
    return name


def codename(os_release: str) -> str:
    """The Debian release in the text of an os-release file."""
    found = re.search(r"^VERSION_CODENAME=(\w+)$", os_release, re.MULTILINE)
    if "ID=debian" not in os_release or found is None:
        raise ClusterError("the base image can be built only on Debian; use another image with BASE=python:3.12-slim")
    return found[1]


def mirror(index_targets: str, suite: str) -> str:
    """The URL from which apt installs `suite`. `index_targets`: lines of URL, release and component."""
    for line in index_targets.splitlines():
        url, release, component = line.split()
        if release == suite and component == "main":
            return url
    raise ClusterError(f"apt has no source of Debian {suite} main: check /etc/apt/sources.list")


def _is_there(buildah: Path, name: str, recipe: str) -> bool:
    if not run([buildah, "images", "--quiet", "--filter", f"reference={name}"]).strip():
        return False
    label = f'{{{{index .OCIv1.Config.Labels "{_RECIPE_LABEL}"}}}}'
    return run([buildah, "inspect", "--type", "image", "--format", label, name]).strip() == recipe


def _make(buildah: Path, name: str, suite: str, recipe: str) -> None:
    url = mirror(
        run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]),
        suite,
    )
    proxy = run(["apt-config", "shell", "PROXY", "Acquire::http::Proxy"]).strip()
    environment = {"http_proxy": proxy.partition("=")[2].strip("'")} if proxy else {}
    folder = CACHE / "base-image-build"
    mounts.remove(folder)  # of a killed build
    root = folder / "root"
    root.mkdir(parents=True)
    try:
        run(
            ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", suite, root, url],
            timeout=900,
            env={"LC_ALL": "C", **environment},
        )
        _slim(root)
        (folder / "Containerfile").write_text(
            f"FROM scratch\nCOPY root/ /\nLABEL {_RECIPE_LABEL}={recipe}\n"
            'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8\nCMD ["python3"]\n'
        )
        run([buildah, "build", "--quiet", "--tag", name, folder], timeout=600)
    finally:
        # debootstrap mounts /proc, and nothing must be removed through a mount.
        mounts.remove(folder)


def _slim(root: Path) -> None:
    for name in SLIMMED:
        for path in (root / name).iterdir() if (root / name).is_dir() else ():
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    for path in (root / "usr/share/doc").rglob("*"):
        if not path.is_dir() and path.name != "copyright":
            path.unlink()
    # debootstrap copies the network configuration of this machine, which does not belong in the image.
    for name in ("etc/resolv.conf", "etc/hostname"):
        (root / name).unlink(missing_ok=True)
    (root / "tmp").chmod(0o1777)
