"""The node's side of the network: one address that pods reach, the kernel's switches, and leaving none of it behind."""

import json
import shutil
from pathlib import Path

from cluster.commands import attempt, run
from cluster.components import NODE_ADDRESS, SERVICE_RANGE
from cluster.paths import RUN

# A bridge without ports: these machines have no dummy device, and loopback's addresses are not for pods.
DEVICE = "keras0"
# Forwarding carries packets between pods and the node; route_localnet lets NodePorts answer on 127.0.0.1.
SWITCHES = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/route_localnet": "1"}
_OURS = ("KUBE-", "CNI-")
_BEFORE = RUN / "sysctls.json"


def create() -> None:
    """Make the device with the node's address and the route of Services, and set the switches. Safe to repeat."""
    if not attempt(["ip", "link", "show", DEVICE]):
        run(["ip", "link", "add", DEVICE, "type", "bridge"])
    run(["ip", "address", "replace", f"{NODE_ADDRESS}/32", "dev", DEVICE])
    run(["ip", "link", "set", DEVICE, "up"])
    # Keeps packets to Services that nobody translates on this machine.
    run(["ip", "route", "replace", SERVICE_RANGE, "dev", DEVICE])
    before = {name: _switch(name).read_text().strip() for name in SWITCHES}
    if not _BEFORE.exists():
        _BEFORE.parent.mkdir(parents=True, exist_ok=True)
        _BEFORE.write_text(json.dumps(before))
    for name, value in SWITCHES.items():
        _switch(name).write_text(value)


def remove() -> None:
    """Take away the device, the chains of kube-proxy and CNI, and set the switches back."""
    attempt(["ip", "link", "delete", DEVICE])
    for family in ("iptables", "ip6tables"):
        _remove_chains(family)
    if _BEFORE.exists():
        for name, value in json.loads(_BEFORE.read_text()).items():
            _switch(name).write_text(value)
        _BEFORE.unlink()
    for results in Path("/var/lib/cni/results").glob("keras-operator-*"):
        results.unlink()


def without_our_chains(rules: str) -> str:
    """What iptables-save printed, less every chain and rule of kube-proxy, the kubelet and CNI."""
    return "".join(line for line in rules.splitlines(keepends=True) if not any(ours in line for ours in _OURS))


def _remove_chains(family: str) -> None:
    if shutil.which(f"{family}-save") is None:
        return
    rules = run([f"{family}-save"])
    if (kept := without_our_chains(rules)) != rules:
        run([f"{family}-restore", "-w", "10"], stdin=kept)


def _switch(name: str) -> Path:
    return Path("/proc/sys") / name
