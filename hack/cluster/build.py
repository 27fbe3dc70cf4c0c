"""Builds of Go programs, once per version: the path of a binary in the cache is a hash of all its inputs."""

import hashlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from cluster import toolchain
from cluster.commands import run
from cluster.console import ClusterError, clock, say
from cluster.locks import hold
from cluster.paths import BIN, BUILDS, CACHE, HERE

MODULES = HERE / "go"

PROGRESS_SECONDS = 20
# Longest time without output of a working build: linking the largest program on a busy machine.
SILENCE_SECONDS = 10 * 60
BUILD_SECONDS = 60 * 60


@dataclass(frozen=True)
class Source:
    """The source of programs: a module in go/ that pins its dependencies, or a version of a published module."""

    name: str
    programs: Mapping[str, str]  # name of the program -> its Go package, relative to `module` if there is one
    module: str = ""
    version: str = ""
    flags: tuple[str, ...] = ()
    ldflags: str = "-s -w"


KUBERNETES = "1.36.3"
# The version of its Go module differs: v0.312.0 is 3.12.0.
PROMETHEUS = "3.12.0"

_VERSION = "k8s.io/component-base/version"
_KUBERNETES = Source(
    name="kubernetes",
    programs={
        "etcd": "go.etcd.io/etcd/server/v3",
        **{
            name: f"k8s.io/kubernetes/cmd/{name}"
            for name in (
                "kube-apiserver",
                "kube-controller-manager",
                "kube-scheduler",
                "kubelet",
                "kube-proxy",
                "kubectl",
            )
        },
        "helm": "helm.sh/helm/v4/cmd/helm",
        "coredns": "./coredns",
        "pause": "./pause",
        "metrics-server": "sigs.k8s.io/metrics-server/cmd/metrics-server",
    },
    ldflags=f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"
    f" -X {_VERSION}.gitTreeState=clean -X {_VERSION}.gitCommit=v{KUBERNETES}",
)

SOURCES = (
    _KUBERNETES,
    Source(
        name="containerd",
        programs={name: f"cmd/{name}" for name in ("containerd", "containerd-shim-runc-v2", "ctr")},
        module="github.com/containerd/containerd/v2",
        version="v2.4.2",
        flags=("-tags=no_btrfs,no_zfs,no_devmapper",),
        ldflags="-s -w -X github.com/containerd/containerd/v2/version.Version=2.4.2",
    ),
    Source(
        name="registry",
        programs={"registry": "cmd/registry"},
        module="github.com/distribution/distribution/v3",
        version="v3.1.2",
    ),
    Source(
        name="local-path",
        programs={"local-path-provisioner": "."},
        module="github.com/rancher/local-path-provisioner",
        version="v0.0.30",
    ),
    Source(
        name="monitoring",
        programs={
            "prometheus-operator": "github.com/prometheus-operator/prometheus-operator/cmd/operator",
            "prometheus-config-reloader": (
                "github.com/prometheus-operator/prometheus-operator/cmd/prometheus-config-reloader"
            ),
        },
        ldflags="-s -w -X github.com/prometheus/common/version.Version=0.85.0",
    ),
    Source(
        # Debian's package is built without the service discovery for Kubernetes.
        name="prometheus",
        programs={"prometheus": "github.com/prometheus/prometheus/cmd/prometheus"},
        flags=("-tags=remove_all_sd,enable_kubernetes_sd",),
        ldflags=f"-s -w -X github.com/prometheus/common/version.Version={PROMETHEUS}",
    ),
    Source(
        name="versitygw",
        programs={"versitygw": "cmd/versitygw"},
        module="github.com/versity/versitygw",
        version="v1.8.0",
    ),
    Source(
        name="kubeconform",
        programs={"kubeconform": "cmd/kubeconform"},
        module="github.com/yannh/kubeconform",
        version="v0.8.0",
    ),
)

API_SERVER = ("etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
CLUSTER = (*_KUBERNETES.programs, "containerd", "containerd-shim-runc-v2", "ctr", "registry", "local-path-provisioner")
SETS: Mapping[str, tuple[str, ...]] = {
    "cluster": CLUSTER,
    "apiserver": API_SERVER,
    "monitoring": ("prometheus-operator", "prometheus-config-reloader", "prometheus"),
    "s3": ("versitygw",),
}


def source_of(program: str) -> Source:
    """The source of `program`."""
    for source in SOURCES:
        if program in source.programs:
            return source
    known = sorted(SETS) + sorted(name for source in SOURCES for name in source.programs)
    raise ClusterError(f"unknown program {program!r}; the known ones are {', '.join(known)}")


def programs(names: Iterable[str]) -> list[str]:
    """`names`, with each set replaced by its members."""
    return list(dict.fromkeys(member for name in names for member in SETS.get(name, (name,))))


def wanted_go() -> str:
    """The minimum version of Go for all programs, which is that of Kubernetes."""
    found = re.search(r"^go (\S+)$", (MODULES / "kubernetes/go.mod").read_text(), re.MULTILINE)
    if found is None:
        raise ClusterError(f"{MODULES}/kubernetes/go.mod has no go line")
    return found[1]


def key(source: Source, go_version: str) -> str:
    """A short hash of the inputs of the binaries: the compiler, the flags, and the module's files or version."""
    digest = hashlib.sha256()
    for part in (go_version, *source.flags, source.ldflags, source.module, source.version):
        digest.update(part.encode() + b"\0")
    if not source.module:
        folder = MODULES / source.name
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()[:12]


@cache
def _go() -> tuple[Path, str]:
    return toolchain.go(wanted_go())


def folder(source: Source) -> Path:
    """The folder for the binaries of `source`."""
    return BUILDS / f"{source.name}-{key(source, _go()[1])}"


def path(program: str) -> Path:
    """The path of the binary of `program`, which may not exist yet."""
    return folder(source_of(program)) / program


def ensure(names: Iterable[str]) -> dict[str, Path]:
    """Build programs that are not in the cache, and link all of them into hack/cluster/bin; returns name -> path."""
    wanted = programs(names)
    by_source: dict[str, list[str]] = {}
    for name in wanted:
        if not path(name).exists():
            by_source.setdefault(source_of(name).name, []).append(name)
    for missing in by_source.values():
        source = source_of(missing[0])
        with hold(CACHE / f"build-{source.name}.lock", f"another build of {source.name}"):
            still_missing = [name for name in missing if not path(name).exists()]
            if still_missing:
                _build(source, still_missing)
    paths = {name: path(name) for name in wanted}
    _link(paths)
    return paths


def module_files(source: Source, module: str, pattern: str) -> str:
    """The YAML files of the published `module` that match `pattern`, joined, at the version that `source` requires.

    The result is cached beside the binaries, so that a warm cache needs no module proxy.
    """
    kept = folder(source) / f"{pattern.replace('/', '_')}.joined"
    if not kept.exists():
        go = _go()[0]
        answer = run(
            [go, "mod", "download", "-json", module], cwd=MODULES / source.name, timeout=600, env=_environment()
        )
        files = sorted(Path(json.loads(answer)["Dir"]).glob(pattern))
        if not files:
            raise ClusterError(f"the module {module} has no files {pattern}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        fresh = kept.with_suffix(f".{os.getpid()}")
        fresh.write_text("\n---\n".join(file.read_text() for file in files))
        fresh.replace(kept)
    return kept.read_text()


def _environment() -> dict[str, str]:
    return {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": "-buildvcs=false"}


def _link(paths: Mapping[str, Path]) -> None:
    """Create links in hack/cluster/bin. Renaming replaces a link, so that other processes always find the program."""
    BIN.mkdir(exist_ok=True)
    for name, target in paths.items():
        link = BIN / name
        if link.is_symlink() and link.readlink() == target:
            continue
        fresh = BIN / f".{name}.{os.getpid()}"
        fresh.symlink_to(target)
        fresh.replace(link)


def _build(source: Source, names: list[str]) -> None:
    """Build `names` into the cache, with one retry, because downloads can stall."""
    for attempt in (1, 2):
        try:
            _build_once(source, names)
        except ClusterError as error:
            if attempt == 2:
                raise
            say(f"{error}; retrying once")
        else:
            return


def _build_once(source: Source, names: list[str]) -> None:
    target = folder(source)
    target.mkdir(parents=True, exist_ok=True)
    for killed in BUILDS.glob(f"{source.name}-build-*"):
        shutil.rmtree(killed, ignore_errors=True)
    command = ["nice", "-n", "5", str(_go()[0])]
    flags = ["-v", "-trimpath", *source.flags, f"-ldflags={source.ldflags}"]
    with tempfile.TemporaryDirectory(dir=BUILDS, prefix=f"{source.name}-build-") as made:
        if source.module:
            packages = [f"{full_package(source, name)}@{source.version}" for name in names]
            command += ["install", *flags, *packages]
        else:
            command += ["build", *flags, "-o", f"{made}/", *(source.programs[name] for name in names)]
        _watch(command, source, names, made)
        for name in names:
            binary = Path(made, binary_name(full_package(source, name)))
            binary.replace(target / name)


def full_package(source: Source, program: str) -> str:
    """The Go package of `program` as the command line names it."""
    package = source.programs[program]
    return "/".join(part for part in (source.module, package) if part != ".") if source.module else package


def binary_name(package: str) -> str:
    """The name that Go gives the program of `package`: the last part that is not a major version."""
    parts = package.split("/")
    return parts[-2] if re.fullmatch(r"v\d+", parts[-1]) else parts[-1]


def _watch(command: list[str], source: Source, names: list[str], made: str) -> None:
    """Run a Go build and report its progress. Raises ClusterError if it fails, or if it prints nothing for too long."""
    what = f"building {', '.join(names)}"
    say(f"{what} ({source.name}{' ' + source.version if source.version else ''}; cached afterwards)")
    started = last_output = last_report = time.monotonic()
    compiled = downloaded = 0
    output: list[str] = []
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        cwd=made if source.module else MODULES / source.name,
        env={**os.environ, **_environment(), "GOBIN": made},
        start_new_session=True,
    )
    assert process.stdout is not None
    buffer = b""
    try:
        while True:
            readable, _, _ = select.select([process.stdout], [], [], 1)
            now = time.monotonic()
            if readable:
                chunk = os.read(process.stdout.fileno(), 65536)
                if not chunk:
                    break
                last_output = now
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    text = line.decode(errors="replace")
                    output = [*output[-30:], text]
                    downloaded += text.startswith("go: downloading")
                    compiled += not text.startswith(("go: ", "#", "\t", " "))
            if now - last_report >= PROGRESS_SECONDS:
                last_report = now
                say(f"  still {what[:60]}...: {downloaded} modules downloaded, {compiled} packages compiled")
            if now - last_output > SILENCE_SECONDS or now - started > BUILD_SECONDS:
                raise ClusterError(
                    f"{what} made no progress for {clock(now - last_output)} minutes: check the module proxy"
                )
    finally:
        if process.poll() is None:
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait(timeout=10)
        process.stdout.close()
    if process.returncode != 0:
        errors = [line for line in output if not line.startswith("go: downloading")]
        raise ClusterError(f"{what} failed:\n  " + "\n  ".join(errors[-15:]))
    say(f"{what[:60]}: done in {clock(time.monotonic() - started)}")


def forget_old(keep: int = 2) -> None:
    """Remove old builds of every source, except for the current one and the newest `keep`, to free disk space."""
    for source in SOURCES:
        builds = sorted(
            BUILDS.glob(f"{source.name}-{'[0-9a-f]' * 12}"), key=lambda build: build.stat().st_mtime, reverse=True
        )
        current = folder(source)
        for build in [build for build in builds if build != current][keep:]:
            shutil.rmtree(build, ignore_errors=True)
