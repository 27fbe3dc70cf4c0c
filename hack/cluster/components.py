"""The command line and the configuration of every component, as pure functions of paths and ports."""

from dataclasses import dataclass
from pathlib import Path

NODE = "keras-operator"
NETWORK = "keras-operator"  # the name in the CNI configuration
NODE_ADDRESS = "10.250.0.1"
POD_RANGE = "10.244.0.0/24"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE = "10.96.0.1"
DNS_SERVICE = "10.96.0.10"
CGROUP = "keras-operator"
DOMAIN = "cluster.local"

Command = list[str]


@dataclass(frozen=True)
class Layout:
    """The folder and the loopback ports of one control plane."""

    folder: Path  # pki/, etcd/, kubeconfigs: NAME.kubeconfig
    etcd_port: int = 2379
    etcd_peer_port: int = 2380
    api_port: int = 6443

    @property
    def pki(self) -> Path:
        """The folder of keys and certificates."""
        return self.folder / "pki"

    def kubeconfig(self, client: str) -> Path:
        """The kubeconfig of the certificate `client`."""
        return self.folder / f"{client}.kubeconfig"


# Ports of the cluster besides those in its Layout. `up` checks them before a start.
REGISTRY_PORT = 5000
KUBELET_PORT = 10250
CONTROLLER_MANAGER_PORT = 10257
SCHEDULER_PORT = 10259
PROXY_HEALTH_PORT = 10256


def ports(layout: Layout) -> dict[str, int]:
    """TCP port of every component that `up` starts."""
    return {
        "etcd": layout.etcd_port,
        "etcd (peers)": layout.etcd_peer_port,
        "kube-apiserver": layout.api_port,
        "registry": REGISTRY_PORT,
        "kubelet": KUBELET_PORT,
        "kube-controller-manager": CONTROLLER_MANAGER_PORT,
        "kube-scheduler": SCHEDULER_PORT,
        "kube-proxy": PROXY_HEALTH_PORT,
    }


def etcd(program: Path, layout: Layout) -> Command:
    """A single member without fsync. A crash of the machine can lose the state, which every start creates again."""
    client, peer = f"http://127.0.0.1:{layout.etcd_port}", f"http://127.0.0.1:{layout.etcd_peer_port}"
    return [
        str(program),
        f"--data-dir={layout.folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def kube_apiserver(program: Path, layout: Layout, *, address: str | None) -> Command:
    """The API server with the default admission plugins, aggregation and RBAC.

    `address` is the address for pods, with which the API server listens on every address. With None, it listens on
    loopback only, and has no nodes.
    """
    pki = layout.pki
    listening = (
        ["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"]
        if address is None
        # The advertised address becomes the endpoint of the Service `kubernetes`, and must not be loopback.
        else ["--bind-address=0.0.0.0", f"--advertise-address={address}"]
    )
    return [
        str(program),
        *listening,
        f"--secure-port={layout.api_port}",
        f"--etcd-servers=http://127.0.0.1:{layout.etcd_port}",
        f"--service-cluster-ip-range={SERVICE_RANGE}",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={pki / 'service-account.pub'}",
        f"--service-account-signing-key-file={pki / 'service-account.key'}",
        f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        # Node names do not resolve on this machine.
        "--kubelet-preferred-address-types=InternalIP",
        "--enable-aggregator-routing=true",
        f"--requestheader-client-ca-file={pki / 'ca.crt'}",
        # Clients and aggregators share one CA. Without this option, every client could impersonate another.
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
    ]


def _with_kubeconfig(program: Path, kubeconfig: Path) -> Command:
    return [
        str(program),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--leader-elect=false",
        "--bind-address=127.0.0.1",
    ]


def kube_controller_manager(program: Path, layout: Layout, *, port: int = CONTROLLER_MANAGER_PORT) -> Command:
    """All controllers, each with its own service account. With `port` 0, health and metrics are not served."""
    pki = layout.pki
    return [
        *_with_kubeconfig(program, layout.kubeconfig("controller-manager")),
        f"--secure-port={port}",
        f"--service-account-private-key-file={pki / 'service-account.key'}",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--use-service-account-credentials",
        "--allocate-node-cidrs=false",
    ]


def kube_scheduler(program: Path, layout: Layout) -> Command:
    """The scheduler with its default profile."""
    return [
        *_with_kubeconfig(program, layout.kubeconfig("scheduler")),
        f"--secure-port={SCHEDULER_PORT}",
    ]


def containerd(program: Path, config: Path, root: Path, state: Path) -> Command:
    """`root` contains the images and is kept; `state` contains the state of running containers."""
    return [
        str(program),
        f"--config={config}",
        f"--root={root}",
        f"--state={state}",
        f"--address={state / 'containerd.sock'}",
    ]


def kubelet(program: Path, layout: Layout, config: Path) -> Command:
    """The node."""
    return [
        str(program),
        f"--kubeconfig={layout.kubeconfig('kubelet')}",
        f"--config={config}",
        f"--hostname-override={NODE}",
        f"--node-ip={NODE_ADDRESS}",
        f"--root-dir={layout.folder / 'kubelet'}",
    ]


def kube_proxy(program: Path, layout: Layout) -> Command:
    """Services with iptables. 0 keeps the kernel's conntrack settings, which a container cannot change."""
    return [
        str(program),
        f"--kubeconfig={layout.kubeconfig('kube-proxy')}",
        f"--hostname-override={NODE}",
        f"--cluster-cidr={POD_RANGE}",
        "--proxy-mode=iptables",
        "--bind-address=127.0.0.1",
        f"--healthz-bind-address=127.0.0.1:{PROXY_HEALTH_PORT}",
        "--conntrack-max-per-core=0",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=0",
    ]


def registry(program: Path, config: Path) -> Command:
    """The image registry on loopback from which pods pull."""
    return [str(program), "serve", str(config)]


def registry_config(root: Path) -> dict[str, object]:
    """Images on disk, with deletion. On loopback only, because the registry has no authentication."""
    return {
        "version": "0.1",
        "log": {"level": "warn", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(root)}, "delete": {"enabled": True}},
        "http": {"addr": f"127.0.0.1:{REGISTRY_PORT}"},
    }


def kubelet_config(layout: Layout, containerd_socket: Path) -> dict[str, object]:
    """Settings that also work on machines with cgroup v1 and without CAP_SYS_RESOURCE."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(layout.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet-server.key"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "failCgroupV1": False,
        "failSwapOn": False,
        "oomScoreAdj": 0,
        "containerRuntimeEndpoint": f"unix://{containerd_socket}",
        "clusterDNS": [DNS_SERVICE],
        "clusterDomain": DOMAIN,
        "resolvConf": "",
        "serializeImagePulls": False,
        # Delay until changed Secrets and ConfigMaps reach the pods that mount them. The default is a minute.
        "syncFrequency": "10s",
        # Pods are evicted and images are removed only if the disk is nearly full.
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {"memory.available": "100Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
    }


def cni_config() -> dict[str, object]:
    """Point-to-point links. On a bridge, replies between pods would bypass NAT and break Services."""
    return {
        "cniVersion": "0.4.0",
        "name": NETWORK,
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": True,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": POD_RANGE}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/keras-operator/cni",
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def containerd_config(sandbox_image: str, cni_folder: Path, shim_sockets: Path) -> str:
    """containerd's TOML, with `restrict_oom_score_adj` because lowering the score may not be permitted."""
    return f"""\
version = 3
[plugins.'io.containerd.cri.v1.images']
  snapshotter = "overlayfs"
  [plugins.'io.containerd.cri.v1.images'.pinned_images]
    sandbox = "{sandbox_image}"
[plugins.'io.containerd.nri.v1.nri']
  disable = true
[plugins.'io.containerd.shim.v1.manager']
  socket_dir = "{shim_sockets}"
[plugins.'io.containerd.cri.v1.runtime']
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins.'io.containerd.cri.v1.runtime'.cni]
    bin_dirs = ["/usr/lib/cni"]
    conf_dir = "{cni_folder}"
  [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""
