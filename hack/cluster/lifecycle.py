"""The lifecycle of the cluster: up, down, status. Crash-only: a start after a crash does the clean-up of `down`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from cluster import addons, build, cgroups, components, images, mounts, network, paths, pki, preflight, toolchain
from cluster.commands import attempt, run, wait_until
from cluster.console import ClusterError, say, step
from cluster.daemons import Daemon
from cluster.health import answers
from cluster.locks import hold
from cluster.target import Target

LAYOUT = components.Layout(paths.STATE)
URL = f"https://127.0.0.1:{LAYOUT.api_port}"
CONTAINERD_STATE = paths.RUN / "containerd"
SOCKET = CONTAINERD_STATE / "containerd.sock"
OWNER = paths.RUN / "owner.json"
CONFIGS = paths.STATE / "config"


@dataclass(frozen=True)
class Owner:
    """The clone that started the cluster, and its cache, which contains mounts."""

    clone: str
    cache: str

    @classmethod
    def ours(cls) -> "Owner":
        """This clone with its cache."""
        return cls(str(paths.CLONE), str(paths.CACHE))

    @classmethod
    def read(cls) -> "Owner | None":
        """The owner of the cluster that runs or crashed; None if there is none."""
        try:
            return cls(**json.loads(OWNER.read_text()))
        except (OSError, ValueError, TypeError):
            return None


def up(*, take_over: bool = False) -> None:
    """Start the cluster, or repair it if it runs. `take_over`: first stop the cluster of another clone."""
    preflight.require_root()
    with _lock():
        owner = Owner.read()
        if running() and owner != Owner.ours():
            if not take_over:
                _refuse_unless_abandoned(owner)
            with step(f"stopping the cluster of {owner.clone if owner else 'an unknown clone'}"):
                _clean()
        fresh = not running()
        if fresh and Owner.read():
            with step("removing the remains of a cluster that crashed"):
                _clean()
                images.clear_away()
        toolchain.ensure_packages(toolchain.NODE_PACKAGES)
        if fresh:
            preflight.check(components.ports(LAYOUT))
        programs = build.ensure(["cluster"])
        images.buildah_command()
        if fresh:
            _prepare(programs)
        network.create()
        cgroups.create()
        _start(programs)
        _publish()
        with step("installing DNS, volumes and metrics"):
            addons.install_cluster_set(Target.ours())
        build.forget_old()
        say(f"the cluster runs: export KUBECONFIG={paths.KUBECONFIG} PATH={paths.BIN}:$PATH")


def down(*, take_over: bool = False) -> None:
    """Stop the cluster and remove everything except the caches. Can be repeated."""
    preflight.require_root()
    with _lock():
        owner = Owner.read()
        if owner is None and not running():
            say("no cluster runs")
            return
        if running() and not take_over and (owner is None or owner.clone != str(paths.CLONE)):
            _refuse_unless_abandoned(owner)
        with step("stopping the cluster"):
            _clean()


def prune() -> None:
    """Remove the images and layers in the cache. Programs that were built from source are kept."""
    preflight.require_root()
    with _lock(), hold(images.LOCK, "a build of images"):
        if running():
            raise ClusterError("a cluster uses the cache: stop it first with `python3 hack/cluster down`")
        for folder in (paths.BUILDAH, paths.REGISTRY, paths.CONTAINERD):
            with step(f"removing {folder}"):
                mounts.remove(folder)


def _refuse_unless_abandoned(owner: Owner | None) -> None:
    """Raise ClusterError if another clone may still use the running cluster. A clone that was deleted does not."""
    if owner is None:
        raise ClusterError(
            f"processes run in the cgroup /{components.CGROUP} of this machine, and their owner is unknown: "
            "inspect them, and if they are not needed, end them with `python3 hack/cluster down --take-over`"
        )
    if Path(owner.clone).exists():
        raise ClusterError(
            f"the cluster of {owner.clone} is running, and a machine can run only one: "
            "stop it there with `make cluster-down`, or take over with `python3 hack/cluster up --take-over`"
        )


def running() -> bool:
    """Whether any process of a cluster runs on this machine."""
    return bool(cgroups.members())


def status() -> list[str]:
    """One line about the cluster and one per component."""
    owner = Owner.read()
    if owner is None or not running():
        return ["no cluster runs"]
    lines = [f"the cluster of {owner.clone}, {URL}: {'ready' if answers(URL + '/readyz', LAYOUT.pki) else 'not ready'}"]
    for daemon in _daemons(build.ensure(["cluster"])):
        pid = daemon.pid()
        lines.append(f"  {daemon.name:<24} {f'runs, pid {pid}' if pid else 'stopped'}   {daemon.log}")
    return lines


@contextmanager
def _lock() -> Iterator[None]:
    with hold(Path("/run/keras-operator.lock"), "another start or stop of the cluster on this machine"):
        yield


def _clean() -> None:
    """Kill every process of the cluster, and remove its mounts, devices, chains and cgroups."""
    owner = Owner.read()
    cache = Path(owner.cache) if owner else paths.CACHE
    cgroups.kill_all()
    mounts.undo([paths.RUN, cache / "cluster", cache / "containerd"])
    network.remove()
    cgroups.remove()
    mounts.remove(cache / "cluster")
    mounts.remove(paths.RUN)
    clone = Path(owner.clone) if owner else paths.CLONE
    (clone / paths.KUBECONFIG.relative_to(paths.CLONE)).unlink(missing_ok=True)


def _prepare(programs: dict[str, Path]) -> None:
    """Create what a start needs on disk and in the kernel. The owner is recorded first, so that `down` can undo it."""
    paths.RUN.mkdir(parents=True, exist_ok=True)
    mounts.remove(paths.STATE)
    CONFIGS.mkdir(parents=True)
    OWNER.write_text(json.dumps(asdict(Owner.ours())))
    with step("creating keys, certificates and configuration"):
        addresses = ["127.0.0.1", components.NODE_ADDRESS]
        pki.issue(LAYOUT.pki, pki.certificates(components.NODE, addresses, components.API_SERVICE))
        for client in ("admin", "controller-manager", "scheduler", "kube-proxy", "kubelet"):
            LAYOUT.kubeconfig(client).write_text(pki.kubeconfig(LAYOUT.pki, client, URL))
        _write_configs()
    cgroups.create()
    _forget_containers(programs)


def _write_configs() -> None:
    (CONFIGS / "cni").mkdir()
    (CONFIGS / "cni" / "10-keras-operator.conflist").write_text(json.dumps(components.cni_config(), indent=2))
    (CONFIGS / "kubelet.json").write_text(json.dumps(components.kubelet_config(LAYOUT, SOCKET), indent=2))
    (CONFIGS / "registry.json").write_text(json.dumps(components.registry_config(paths.REGISTRY), indent=2))
    sandbox = images.reference(Target.ours().registry, "pause")
    (CONFIGS / "containerd.toml").write_text(
        components.containerd_config(sandbox, CONFIGS / "cni", paths.RUN / "shims")
    )


def _forget_containers(programs: dict[str, Path]) -> None:
    """Remove the containers of an earlier cluster from containerd's records. Images are kept.

    The CRI plugin is disabled for this, because it would report the containers to the kubelet as running pods.
    """
    if not (paths.CONTAINERD / "io.containerd.metadata.v1.bolt").exists():
        return
    config = CONFIGS / "containerd-without-pods.toml"
    config.write_text("version = 3\ndisabled_plugins = ['io.containerd.grpc.v1.cri']\n")
    cleaner = _containerd(programs, config, "containerd-cleaner")
    with step("removing the containers of the last cluster"):
        cleaner.start()
        ctr: list[str | Path] = [programs["ctr"], f"--address={SOCKET}", "--namespace=k8s.io"]
        wait_until(lambda: _alive(cleaner) and attempt([*ctr, "version"]), "containerd did not answer", timeout=30)
        if containers := run([*ctr, "containers", "list", "--quiet"]).split():
            run([*ctr, "containers", "delete", *containers], timeout=120)
        cgroups.kill_all()


def _containerd(programs: dict[str, Path], config: Path, name: str = "containerd") -> Daemon:
    command = components.containerd(programs["containerd"], config, paths.CONTAINERD, CONTAINERD_STATE)
    # containerd finds its shim in PATH, and both are built into the same folder.
    path = f"{programs['containerd'].parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return Daemon(name, command, {"PATH": path})


def _daemons(programs: dict[str, Path]) -> list[Daemon]:
    """All components, in the order of their start."""
    return [
        Daemon("etcd", components.etcd(programs["etcd"], LAYOUT)),
        Daemon("registry", components.registry(programs["registry"], CONFIGS / "registry.json")),
        _containerd(programs, CONFIGS / "containerd.toml"),
        Daemon(
            "kube-apiserver",
            components.kube_apiserver(programs["kube-apiserver"], LAYOUT, address=components.NODE_ADDRESS),
        ),
        Daemon(
            "kube-controller-manager",
            components.kube_controller_manager(programs["kube-controller-manager"], LAYOUT),
        ),
        Daemon("kube-scheduler", components.kube_scheduler(programs["kube-scheduler"], LAYOUT)),
        Daemon("kubelet", components.kubelet(programs["kubelet"], LAYOUT, CONFIGS / "kubelet.json")),
        Daemon("kube-proxy", components.kube_proxy(programs["kube-proxy"], LAYOUT)),
    ]


# Components that must be ready before the next ones start. The others wait for their dependencies themselves.
_READY = {
    "etcd": f"http://127.0.0.1:{LAYOUT.etcd_port}/readyz",
    "registry": f"http://127.0.0.1:{components.REGISTRY_PORT}/v2/",
    "kube-apiserver": f"{URL}/readyz",
}


def _start(programs: dict[str, Path]) -> None:
    """Start the components that do not run, and wait until the node is ready."""
    daemons = _daemons(programs)
    with step("starting the components"):
        for daemon in daemons:
            if daemon.start():
                say(f"  {daemon.name}")
            if url := _READY.get(daemon.name):
                _wait_for_answer(daemon, url)
            if daemon.name == "registry":
                images.push_programs(Target.ours().registry, ["pause"])
    with step("waiting for the node"):
        _wait_for_node(programs, daemons)


def _wait_for_answer(daemon: Daemon, url: str) -> None:
    credentials = LAYOUT.pki if url.startswith("https") else None
    wait_until(
        lambda: _alive(daemon) and answers(url, credentials),
        f"{daemon.name} was not ready (its log: {daemon.log})",
        timeout=90,
    )


def _wait_for_node(programs: dict[str, Path], daemons: list[Daemon]) -> None:
    kubectl: list[str | Path] = [programs["kubectl"], f"--kubeconfig={LAYOUT.kubeconfig('admin')}"]
    condition = 'jsonpath={.status.conditions[?(@.type=="Ready")].status}'

    def ready() -> bool:
        for daemon in daemons:
            daemon.require()
        try:
            return run([*kubectl, "get", f"node/{components.NODE}", "-o", condition]) == "True"
        except ClusterError:
            return False

    wait_until(ready, "the node was not ready (see `python3 hack/cluster logs kubelet`)", timeout=120, interval=0.3)


def _alive(daemon: Daemon) -> bool:
    daemon.require()
    return True


def _publish() -> None:
    """Write the kubeconfig of the clone. Renaming replaces it, so that a reader sees the old or the new one."""
    fresh = paths.KUBECONFIG.with_suffix(".new")
    fresh.write_bytes(LAYOUT.kubeconfig("admin").read_bytes())
    fresh.chmod(0o600)
    fresh.replace(paths.KUBECONFIG)


def tail(name: str, lines: int = 100) -> str:
    """The last lines of a component's log. If there is no such component, raises ClusterError with all names."""
    logs = sorted((paths.STATE / "log").glob("*.log"))
    for log in logs:
        if log.stem == name:
            return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
    known = ", ".join(log.stem for log in logs) or "none, because no cluster was started"
    raise ClusterError(f"unknown component {name!r}; the known ones are {known}")
