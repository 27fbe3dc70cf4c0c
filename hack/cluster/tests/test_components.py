"""Command lines and configurations that the cluster requires, and that prevent conflicts between clusters."""

import tomllib
from pathlib import Path

from cluster import components

LAYOUT = components.Layout(Path("/state"), etcd_port=1001, etcd_peer_port=1002, api_port=1003)
PROGRAM = Path("/bin/program")


def test_a_control_plane_listens_only_on_the_ports_of_its_layout() -> None:
    etcd = components.etcd(PROGRAM, LAYOUT)
    assert "--listen-client-urls=http://127.0.0.1:1001" in etcd
    assert "--listen-peer-urls=http://127.0.0.1:1002" in etcd
    apiserver = components.kube_apiserver(PROGRAM, LAYOUT, address=None)
    assert "--secure-port=1003" in apiserver
    assert "--etcd-servers=http://127.0.0.1:1001" in apiserver


def test_an_api_server_without_nodes_listens_on_loopback() -> None:
    command = components.kube_apiserver(PROGRAM, LAYOUT, address=None)
    assert "--bind-address=127.0.0.1" in command
    assert "--endpoint-reconciler-type=none" in command


def test_an_api_server_with_nodes_advertises_an_address_that_pods_reach() -> None:
    command = components.kube_apiserver(PROGRAM, LAYOUT, address="10.250.0.1")
    assert "--advertise-address=10.250.0.1" in command
    assert not [flag for flag in command if "endpoint-reconciler" in flag]


def test_no_flag_is_given_twice() -> None:
    for command in (
        components.etcd(PROGRAM, LAYOUT),
        components.kube_apiserver(PROGRAM, LAYOUT, address=components.NODE_ADDRESS),
        components.kube_controller_manager(PROGRAM, LAYOUT),
        components.kube_scheduler(PROGRAM, LAYOUT),
        components.kube_proxy(PROGRAM, LAYOUT),
        components.kubelet(PROGRAM, LAYOUT, Path("/kubelet.json")),
    ):
        flags = [word.partition("=")[0] for word in command]
        assert len(flags) == len(set(flags))


def test_the_ports_of_the_cluster_differ() -> None:
    ports = components.ports(LAYOUT)
    assert len(set(ports.values())) == len(ports)


def test_containerd_configuration_is_toml_with_our_folders() -> None:
    config = tomllib.loads(components.containerd_config("registry/pause:1", Path("/cni"), Path("/run/ours/shims")))
    plugins = config["plugins"]
    assert plugins["io.containerd.cri.v1.images"]["pinned_images"]["sandbox"] == "registry/pause:1"
    assert plugins["io.containerd.cri.v1.runtime"]["cni"]["conf_dir"] == "/cni"
    assert plugins["io.containerd.shim.v1.manager"]["socket_dir"] == "/run/ours/shims"


def test_network_namespaces_are_in_the_state_folder() -> None:
    config = tomllib.loads(components.containerd_config("registry/pause:1", Path("/cni"), Path("/shims")))
    assert config["plugins"]["io.containerd.cri.v1.runtime"]["netns_mounts_under_state_dir"] is True


def test_pods_are_in_the_cgroup_of_the_cluster() -> None:
    config = components.kubelet_config(LAYOUT, Path("/run/containerd.sock"))
    assert config["cgroupRoot"] == f"/{components.CGROUP}"
