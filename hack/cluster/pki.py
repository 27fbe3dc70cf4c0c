"""The certificates and kubeconfigs of the cluster, created with openssl and elliptic-curve keys."""

import json
import ssl
import tempfile
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.commands import run

DAYS = "3650"


@dataclass(frozen=True)
class Certificate:
    """The holder of a certificate. `names`: `DNS:...` and `IP:...` of a server; empty for a client."""

    name: str
    user: str
    group: str = ""
    names: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """The subject in the format of openssl. Kubernetes reads group and user from O and CN."""
        return (f"/O={self.group}" if self.group else "") + f"/CN={self.user}"

    @property
    def extensions(self) -> str:
        """The text of the extensions file."""
        if self.names:
            return f"extendedKeyUsage=serverAuth\nsubjectAltName={','.join(self.names)}\n"
        return "extendedKeyUsage=clientAuth\n"


def certificates(node: str, addresses: Iterable[str], service_address: str) -> list[Certificate]:
    """All certificates of a cluster. `addresses`: those of the API server and the kubelet."""
    here = tuple(f"IP:{address}" for address in addresses)
    services = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    dns = tuple(f"DNS:{name}" for name in ("localhost", *services))
    return [
        Certificate("apiserver", "kube-apiserver", names=(*dns, *here, f"IP:{service_address}")),
        Certificate("kubelet-server", node, names=(f"DNS:{node}", *here)),
        Certificate("admin", "admin", "system:masters"),
        Certificate("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        Certificate("front-proxy-client", "front-proxy-client"),
        Certificate("controller-manager", "system:kube-controller-manager"),
        Certificate("scheduler", "system:kube-scheduler"),
        Certificate("kube-proxy", "system:kube-proxy"),
        Certificate("kubelet", f"system:node:{node}", "system:nodes"),
    ]


def issue(folder: Path, wanted: Iterable[Certificate]) -> None:
    """Create a CA, the key pair of service accounts and `wanted` in `folder`: NAME.crt, NAME.key."""
    folder.mkdir(parents=True, exist_ok=True)
    run(
        [
            *("openssl", "req", "-x509", "-days", DAYS, "-subj", "/CN=keras-operator-cluster"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign,digitalSignature"),
            *(*_new_key(folder / "ca.key"), "-out", folder / "ca.crt"),
        ]
    )
    run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / "service-account.key"])
    run(["openssl", "ec", "-in", folder / "service-account.key", "-pubout", "-out", folder / "service-account.pub"])
    for certificate in wanted:
        _sign(folder, certificate)


def _new_key(path: Path) -> list[str | Path]:
    return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", path]


def _sign(folder: Path, certificate: Certificate) -> None:
    base = folder / certificate.name
    key, request, extensions = base.with_suffix(".key"), base.with_suffix(".csr"), base.with_suffix(".ext")
    extensions.write_text(certificate.extensions)
    run(["openssl", "req", *_new_key(key), "-subj", certificate.subject, "-out", request])
    run(
        [
            *("openssl", "x509", "-req", "-days", DAYS, "-CAcreateserial"),
            *("-CA", folder / "ca.crt", "-CAkey", folder / "ca.key"),
            *("-in", request, "-extfile", extensions, "-out", base.with_suffix(".crt")),
        ]
    )


def kubeconfig(folder: Path, client: str, server: str) -> str:
    """A kubeconfig, as JSON, for the certificate `client` in `folder` and the URL `server`."""

    def inlined(path: Path) -> str:
        return b64encode(path.read_bytes()).decode()

    name = "keras-operator"
    config: Mapping[str, object] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": name, "cluster": {"server": server, "certificate-authority-data": inlined(folder / "ca.crt")}}
        ],
        "users": [
            {
                "name": client,
                "user": {
                    "client-certificate-data": inlined(folder / f"{client}.crt"),
                    "client-key-data": inlined(folder / f"{client}.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": client}}],
        "current-context": name,
    }
    return json.dumps(config, indent=2) + "\n"


def client_tls(config: Mapping[str, Any]) -> ssl.SSLContext:
    """The TLS context of the only user of such a kubeconfig, for a client that does not read kubeconfigs."""
    authority = b64decode(config["clusters"][0]["cluster"]["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    user = config["users"][0]["user"]
    with tempfile.NamedTemporaryFile() as pair:
        pair.write(b64decode(user["client-certificate-data"]) + b64decode(user["client-key-data"]))
        pair.flush()
        context.load_cert_chain(pair.name)
    return context
