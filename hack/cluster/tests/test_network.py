"""The firewall rules that are removed: those of a node with two pods, beside those of podman and Docker."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cluster.network import removal

HACK = Path(__file__).resolve().parents[2]
PODMAN = r"name: \"podman\" id: \"0123456789abcdef\""
POD = r"name: \"keras-operator\" id: \"0123456789abcdef\""

THEIRS = f"""\
*nat
:PREROUTING ACCEPT [0:0]
:INPUT ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:POSTROUTING ACCEPT [0:0]
:CNI-DN-fffffffffffffffffffff - [0:0]
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
:CNI-ffffffffffffffffffffffff - [0:0]
:DOCKER - [0:0]
:KUBE-ROUTER-X - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A PREROUTING -m comment --comment "not -j KUBE-SERVICES" -j DOCKER
-A OUTPUT -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
-A POSTROUTING -s 10.88.0.2/32 -m comment --comment "{PODMAN}" -j CNI-ffffffffffffffffffffffff
-A POSTROUTING -m comment --comment KUBE-ROUTER -j KUBE-ROUTER-X
-A CNI-DN-fffffffffffffffffffff -p tcp -m tcp --dport 8080 -j DNAT --to-destination 10.88.0.2:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat {PODMAN}" -j CNI-DN-fffffffffffffffffffff
-A CNI-HOSTPORT-MASQ -m mark --mark 0x2000/0x2000 -j MASQUERADE
-A CNI-HOSTPORT-SETMARK -m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark 0x2000/0x2000
-A CNI-ffffffffffffffffffffffff ! -d 224.0.0.0/4 -m comment --comment "{PODMAN}" -j MASQUERADE
COMMIT
"""
OURS = f"""\
*filter
:KUBE-FIREWALL - [0:0]
:KUBE-KUBELET-CANARY - [0:0]
-A OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -j DROP
COMMIT
*nat
:CNI-04c9b713f1c3f85f53d6b0cd - [0:0]
:CNI-DN-04c9b713f1c3f85f53d6b - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-SEP-6HRARMSVSKPKIH4M - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-SVC-TCOU7JCQXEZGVUNU - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A POSTROUTING -s 10.244.0.2/32 -m comment --comment "{POD}" -j CNI-04c9b713f1c3f85f53d6b0cd
-A CNI-04c9b713f1c3f85f53d6b0cd -d 10.244.0.0/24 -m comment --comment "{POD}" -j ACCEPT
-A CNI-DN-04c9b713f1c3f85f53d6b -p tcp -m tcp --dport 80 -j DNAT --to-destination 10.244.0.2:80
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat {POD}" -j CNI-DN-04c9b713f1c3f85f53d6b
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-SEP-6HRARMSVSKPKIH4M -s 10.244.0.2/32 -j KUBE-MARK-MASQ
-A KUBE-SERVICES -d 10.96.0.10/32 -p udp -m udp --dport 53 -j KUBE-SVC-TCOU7JCQXEZGVUNU
-A KUBE-SVC-TCOU7JCQXEZGVUNU -j KUBE-SEP-6HRARMSVSKPKIH4M
COMMIT
"""
# Host ports without podman: the shared chains belong to this cluster.
HOST_PORTS = """\
*nat
:CNI-HOSTPORT-DNAT - [0:0]
:CNI-HOSTPORT-MASQ - [0:0]
:CNI-HOSTPORT-SETMARK - [0:0]
-A PREROUTING -m addrtype --dst-type LOCAL -j CNI-HOSTPORT-DNAT
-A POSTROUTING -m comment --comment "CNI portfwd requiring masquerade" -j CNI-HOSTPORT-MASQ
COMMIT
"""


def test_rules_of_others_are_not_changed() -> None:
    assert removal(THEIRS) == ""


def test_only_rules_of_this_cluster_are_removed() -> None:
    (table,) = re.findall(r"^\*nat\n(.*?)COMMIT", removal(OURS), re.MULTILINE | re.DOTALL)
    assert [line for line in table.splitlines() if line.startswith("-D ")] == [
        line.replace("-A ", "-D ", 1)
        for line in OURS.splitlines()
        if line.startswith(("-A PREROUTING", "-A OUTPUT -m", "-A POSTROUTING", "-A CNI-HOSTPORT-DNAT"))
    ]
    assert {line[3:] for line in table.splitlines() if line.startswith("-X ")} == {
        "CNI-04c9b713f1c3f85f53d6b0cd",
        "CNI-DN-04c9b713f1c3f85f53d6b",
        "KUBE-MARK-MASQ",
        "KUBE-SEP-6HRARMSVSKPKIH4M",
        "KUBE-SERVICES",
        "KUBE-SVC-TCOU7JCQXEZGVUNU",
    }


IN_A_NAMESPACE = """
import subprocess, sys
from cluster.network import remove_chains
for rules in sys.argv[1:]:
    subprocess.run(["iptables-restore", "--noflush"], input=rules, text=True, check=True)
remove_chains("iptables")
print(subprocess.run(["iptables-save"], capture_output=True, text=True, check=True).stdout)
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("iptables") is None, reason="needs iptables, and root for a network namespace"
)
@pytest.mark.parametrize(("before", "kept"), [([THEIRS], THEIRS), ([HOST_PORTS], "")], ids=["podman", "alone"])
def test_a_real_firewall_is_restored(before: list[str], kept: str) -> None:
    command = ["unshare", "--net", sys.executable, "-c", IN_A_NAMESPACE, *before, OURS]
    output = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, check=True, timeout=60, env={**os.environ, "PYTHONPATH": str(HACK)}
    ).stdout
    assert _essence(output) == _essence(kept)


def _essence(rules: str) -> list[str]:
    """The rules, and the chains that are not built in."""
    return sorted(line for line in rules.splitlines() if line.startswith((":CNI", ":DOCKER", ":KUBE", "-A ")))
