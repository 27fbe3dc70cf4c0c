"""A server in the cluster that injects faults: no response, a file that never ends, or a large file that never ends."""

from __future__ import annotations

import kubectl as k8s

PROGRAM = """
import http.server, threading

class FaultHandler(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self):
        if not self.path.startswith(("/hangs/", "/floods/")):
            threading.Event().wait()
        self.send_response(200)
        self.send_header("ETag", '"1"')
        self.send_header("Content-Length", str(64 << 20))
        self.end_headers()

    def do_GET(self):
        self.do_HEAD()
        if self.path.startswith("/floods/"):
            for _ in range(48):
                self.wfile.write(bytes(1 << 20))
        threading.Event().wait()

http.server.ThreadingHTTPServer(("", 8080), FaultHandler).serve_forever()
"""


def run_fault_source(namespace: str, image: str) -> None:
    """Run it as http://fault-source.NAMESPACE.svc:8080.

    It returns only the headers of /hangs/*, and 48 MiB of 64 of /floods/*; it does not answer other requests.

    Args:
        namespace: its namespace.
        image: an image with Python.
    """
    labels = {"app": "fault-source"}
    security = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "fault-source", "labels": labels},
        "spec": {
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65532,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "source",
                    "image": image,
                    "command": ["python", "-c", PROGRAM],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "securityContext": security,
                    "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
                }
            ],
        },
    }
    spec = {"selector": labels, "ports": [{"port": 8080}]}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "fault-source"}, "spec": spec}
    k8s.apply(pod, service, namespace=namespace)
    k8s.kubectl("wait", "pod/fault-source", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
