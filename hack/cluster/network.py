"""The network of the node: an address for pods, settings of the kernel, and the removal of both."""

import json
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from cluster.commands import attempt, run
from cluster.components import NETWORK, NODE_ADDRESS, SERVICE_RANGE
from cluster.paths import RUN

# A bridge without ports, because some machines have no dummy device and pods cannot reach loopback addresses.
DEVICE = "keras0"
# Forwarding between pods and the node; route_localnet makes NodePorts available on 127.0.0.1.
SWITCHES = {"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/route_localnet": "1"}

# The chains of kube-proxy and the kubelet. A machine runs one of each, because their ports are fixed.
_KUBERNETES = re.compile(
    r"KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|POSTROUTING|MARK-MASQ|MARK-DROP|FORWARD|FIREWALL|PROXY-FIREWALL"
    r"|PROXY-CANARY|KUBELET-CANARY|IPTABLES-HINT|(SVC|SVL|EXT|SEP|FW)-[A-Z0-9]{16})"
)
# Rules of the CNI plugins contain the network's name in a comment. Those of podman and others have another name.
_MARK = f'name: \\"{NETWORK}\\" id: '
_OF_A_POD = re.compile(r"CNI-(DN-)?[0-9a-f]+")
# The plugin for host ports creates these chains when it needs them. All networks share them.
_HOST_PORTS = ("CNI-HOSTPORT-DNAT", "CNI-HOSTPORT-SETMARK", "CNI-HOSTPORT-MASQ")

_BEFORE = RUN / "sysctls.json"


def create() -> None:
    """Create the device with the node's address and the route of Services, and set the switches. Can be repeated."""
    if not attempt(["ip", "link", "show", DEVICE]):
        run(["ip", "link", "add", DEVICE, "type", "bridge"])
    run(["ip", "address", "replace", f"{NODE_ADDRESS}/32", "dev", DEVICE])
    run(["ip", "link", "set", DEVICE, "up"])
    # Keeps packets to Services without a translation on this machine.
    run(["ip", "route", "replace", SERVICE_RANGE, "dev", DEVICE])
    before = {name: _switch(name).read_text().strip() for name in SWITCHES}
    if not _BEFORE.exists():
        _BEFORE.parent.mkdir(parents=True, exist_ok=True)
        _BEFORE.write_text(json.dumps(before))
    for name, value in SWITCHES.items():
        _switch(name).write_text(value)


def remove() -> None:
    """Remove the device and the chains, and restore the switches."""
    attempt(["ip", "link", "delete", DEVICE])
    for family in ("iptables", "ip6tables"):
        remove_chains(family)
    if _BEFORE.exists():
        for name, value in json.loads(_BEFORE.read_text()).items():
            _switch(name).write_text(value)
        _BEFORE.unlink()
    for results in Path("/var/lib/cni/results").glob("keras-operator-*"):
        results.unlink()


def remove_chains(family: str) -> None:
    """Remove the chains and rules of this cluster from `iptables` or `ip6tables`."""
    if shutil.which(f"{family}-save") is None:
        return
    if changes := removal(run([f"{family}-save"])):
        run([f"{family}-restore", "--noflush", "-w", "10"], stdin=changes)


def removal(rules: str) -> str:
    """The input with which `iptables-restore --noflush` removes the rules of this cluster; empty if there are none.

    `rules` is the output of iptables-save. Other rules are not changed, even if they change in the meantime.
    """
    return "".join(_removal(table) for table in re.findall(r"^\*.+?^COMMIT$", rules, re.MULTILINE | re.DOTALL))


def _removal(table: str) -> str:
    name, *lines = table.splitlines()
    chains = [line[1:].split()[0] for line in lines if line.startswith(":")]
    rules = [line for line in lines if line.startswith("-A ")]
    ours = _ours(chains, rules)
    jumps = [rule for rule in rules if rule.split()[1] not in ours and (_MARK in rule or _target(rule) in ours)]
    if not ours and not jumps:
        return ""
    emptied = [f":{chain} - [0:0]" for chain in ours]
    removed = [*(f"-D{rule.removeprefix('-A')}" for rule in jumps), *(f"-X {chain}" for chain in ours)]
    return "\n".join([name, *emptied, *removed, "COMMIT", ""])


def _ours(chains: Iterable[str], rules: Iterable[str]) -> list[str]:
    """The chains of a table that belong to this cluster."""
    held = defaultdict(list)
    marked = set()
    for rule in rules:
        held[chain := rule.split()[1]].append(rule)
        if _MARK in rule:
            marked |= {chain, _target(rule)}
    are_left = all(_MARK in rule for rule in held[_HOST_PORTS[0]])
    return [
        chain
        for chain in chains
        if _KUBERNETES.fullmatch(chain)
        or (chain in marked and _OF_A_POD.fullmatch(chain))
        or (chain in _HOST_PORTS and are_left)
    ]


def _target(rule: str) -> str:
    """The target of a rule; empty if the rule has none."""
    found = re.search(r" -[jg] (\S+)", re.sub(r'"(\\.|[^"\\])*"', '""', rule))
    return found[1] if found else ""


def _switch(name: str) -> Path:
    return Path("/proc/sys") / name
