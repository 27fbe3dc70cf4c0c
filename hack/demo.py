"""`make demo`: installs the operator on Kubernetes, serves a Keras model, and shows the result."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress

import kubectl as k8s
import s3
from cluster.console import ClusterError
from cluster.target import Target
from kubectl import OWN_CLUSTER, ROOT, CommandError, kubectl, port_forward
from obstore.exceptions import BaseError as StoreError

DIGITS = ROOT / "examples/digits"
FILES = ROOT / ".build/digits"
NAMESPACE = "default"
# The first run builds Kubernetes and the add-ons from source, and the images from wheels. With a warm cache, a step
# takes a minute or two.
BUILD_SECONDS = 2 * 3600
STEP_SECONDS = 900
START = time.monotonic()


def say(text: str) -> None:
    """Print a headline with the elapsed time."""
    line = f"[{time.monotonic() - START:5.0f} s] {text}"
    print(f"\n\033[1m{line}\033[0m" if sys.stdout.isatty() else f"\n{line}", flush=True)


def script(*command: str, timeout: float = STEP_SECONDS) -> None:
    """Run one of the project's scripts and show its output.

    Raises:
        CommandError: the script fails, or does not end within `timeout` seconds and is killed with its children.
    """
    shown = f"`{' '.join(command)}`"
    # A separate process group, in order to end the children of the script too.
    with subprocess.Popen(command, cwd=ROOT, env=k8s.environment(), start_new_session=True) as process:
        try:
            code = process.wait(timeout)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandError(f"{shown} did not end within {timeout / 60:.0f} minutes") from error
            raise
    if code:
        raise CommandError(f"{shown} failed with exit code {code}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Terminate a process and its group, and kill the processes that do not end."""
    # Not SIGINT, which background processes of a shell and their children ignore.
    os.killpg(process.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def train() -> None:
    """Train the model, unless an earlier run has trained it."""
    if (FILES / "digits-test.csv").exists():
        print(f"already trained: {FILES.relative_to(ROOT)} (delete that folder to train again)")
        return
    script(sys.executable, str(DIGITS / "train.py"), str(FILES))


def upload() -> None:
    """Upload the model and the held-out digits to the bucket, and create a Secret with its credentials.

    Raises:
        CommandError: the S3 service rejects the upload.
    """
    with s3.bucket() as bucket:
        for name in ("digits.keras", "digits-test.csv"):
            try:
                bucket.put(f"digits/{name}", FILES / name)
            except StoreError as error:
                # The lines after the first contain details of the Rust library.
                why = str(error).partition("\n")[0]
                raise CommandError(f"the upload of s3://models/digits/{name} failed: {why}") from error
            print(f"s3://models/digits/{name}: {(FILES / name).stat().st_size:,} bytes")
    k8s.apply(s3.reader_secret(), namespace=NAMESPACE)


def wait_until_ready(name: str, timeout: float = 600) -> None:
    """Show the condition Ready of a KerasModel until it is True.

    Raises:
        CommandError: the KerasModel is stalled, or not ready in time; with its message.
    """
    shown, deadline = "", time.monotonic() + timeout
    while True:
        model = k8s.get("kerasmodel", name, NAMESPACE) or {}
        generation = model.get("metadata", {}).get("generation")
        conditions = {c["type"]: c for c in model.get("status", {}).get("conditions", [])}
        ready = conditions.get("Ready", {"status": "Unknown", "reason": "Waiting", "message": "for the operator"})
        line = f"{ready['reason']}: {ready['message']}"
        if line != shown:
            print(f"    {time.monotonic() - START:5.0f} s  Ready={ready['status']:<8}{line}", flush=True)
            shown = line
        current = ready.get("observedGeneration") == generation
        if current and ready["status"] == "True":
            return
        if current and conditions.get("Stalled", {}).get("status") == "True":
            raise CommandError(f"KerasModel {name} is stalled: {line}")
        if time.monotonic() > deadline:
            raise CommandError(f"KerasModel {name} is not ready after {timeout:.0f} s: {line}")
        time.sleep(0.5)


def ask() -> None:
    """Send the held-out digits to the Service."""
    with port_forward("service/digits", NAMESPACE, 8080) as url:
        script(sys.executable, str(DIGITS / "ask.py"), url, str(FILES / "digits-test.csv"))


def prometheus_figure(query: str, timeout: float = 90) -> float:
    """The value of a PromQL query, when it is above zero.

    Raises:
        CommandError: Prometheus has no such value in time.
    """
    deadline = time.monotonic() + timeout
    with port_forward("service/prometheus", "monitoring", 9090) as url:
        while time.monotonic() < deadline:
            with urllib.request.urlopen(
                f"{url}/api/v1/query?{urllib.parse.urlencode({'query': query})}", timeout=10
            ) as reply:
                result = json.load(reply)["data"]["result"]
            if result and float(result[0]["value"][1]) > 0:
                return float(result[0]["value"][1])
            time.sleep(1)
    raise CommandError(f"Prometheus has no value for {query} after {timeout:.0f} s: check its targets")


def show_prometheus() -> None:
    """Print metrics that Prometheus scraped from the pods of the model."""
    if has_others_prometheus():
        print("the cluster has its own Prometheus: query keras_server_requests_total there")
        return
    selector = f'{{namespace="{NAMESPACE}",service="digits"}}'
    for label, query in (
        ("requests answered", f"sum(keras_server_requests_total{selector})"),
        (
            "p50 inside the server, ms",
            f"1000 * histogram_quantile(0.5, sum by (le) (keras_server_request_duration_seconds_bucket{selector}))",
        ),
        ("pods scraped", f"sum(up{selector})"),
    ):
        print(f"    {label:<28}{prometheus_figure(query):10.2f}    {query}", flush=True)


def has_others_prometheus() -> bool:
    """Whether the cluster has its own Prometheus operator, which a second one would disturb."""
    return not OWN_CLUSTER and Target.from_environment().is_others("crd/servicemonitors.monitoring.coreos.com")


def install_monitoring() -> None:
    """Install the Prometheus operator and a Prometheus, unless the cluster has its own."""
    if has_others_prometheus():
        print("the cluster has its own Prometheus operator, which uses the ServiceMonitor of the model")
        return
    script("python3", "hack/cluster", "addon", "monitoring", timeout=BUILD_SECONDS)


STEPS: list[tuple[str, Callable[[], None]]] = [
    ("images: operator, server, pipeline", lambda: script("hack/images.sh", timeout=BUILD_SECONDS)),
    ("monitoring: the Prometheus operator and a Prometheus", install_monitoring),
    ("an S3 service", lambda: script("python3", "hack/cluster", "addon", "s3", timeout=BUILD_SECONDS)),
    ("helm install keras-operator", lambda: script("hack/install.sh")),
    ("train a small CNN on handwritten digits", train),
    ("upload it to the bucket", upload),
    (
        "kubectl apply -f examples/digits/model.yaml",
        lambda: print(kubectl("apply", "-n", NAMESPACE, "-f", str(DIGITS / "model.yaml")), end=""),
    ),
    ("wait for Ready", lambda: wait_until_ready("digits")),
    ("send requests to it", ask),
    ("kubectl get kerasmodels", lambda: print(kubectl("get", "kerasmodels", "-n", NAMESPACE), end="")),
    ("metrics in Prometheus", show_prometheus),
]

# Commands whose output helps to find the cause of a failure, from the model to the nodes.
DIAGNOSTICS = (
    ("get", "kerasmodels,jobs,deployments,pods", "-n", NAMESPACE),
    ("describe", "kerasmodel", "digits", "-n", NAMESPACE),
    ("get", "events", "-n", NAMESPACE, "--field-selector=type=Warning", "--sort-by=.lastTimestamp"),
    ("get", "pods", "-n", "keras-system"),
    ("logs", "-n", "keras-system", "--tail=20", "--prefix", "-l", "app.kubernetes.io/part-of=keras-operator"),
    ("get", "pods", "-n", "s3"),
    ("get", "pods", "-n", "monitoring"),
    ("get", "nodes"),
)


def explain() -> None:
    """Print the output of kubectl. A failure of kubectl is not another failure of the demo."""
    for command in DIAGNOSTICS:
        try:
            shown = kubectl(*command, timeout=20, check=False)
        except CommandError as error:
            print(error, file=sys.stderr)
            return
        if shown.strip():
            print(f"\n$ kubectl {' '.join(command)}\n{shown.rstrip()}", file=sys.stderr)


def main() -> int:
    """Run the steps; returns the exit code. A failure prints diagnostics and one sentence."""
    if OWN_CLUSTER:
        say("a Kubernetes cluster on this machine")
        try:
            script("python3", "hack/cluster", "up", timeout=BUILD_SECONDS)
        except CommandError as error:
            print(error, file=sys.stderr)
            return 1
    elif not os.environ.get("IMAGE_REGISTRY"):
        print("CLUSTER=current needs IMAGE_REGISTRY: a registry that the cluster can pull from", file=sys.stderr)
        return 2
    for title, step in STEPS:
        say(title)
        try:
            step()
        except (CommandError, ClusterError, OSError) as error:
            explain()
            print(f"\n{title}: {error}", file=sys.stderr)
            return 1
    say("done: the model is being served")
    print(next_steps())
    return 0


def next_steps() -> str:
    """Commands to inspect the result, and to stop it."""
    here = (
        'export KUBECONFIG="$PWD/hack/cluster/kubeconfig" PATH="$PWD/hack/cluster/bin:$PATH"\n    '
        if OWN_CLUSTER
        else ""
    )
    return f"""    {here}kubectl get kerasmodels,pods,services,servicemonitors
    kubectl describe kerasmodel digits
    kubectl port-forward service/digits 8080   # then: curl http://127.0.0.1:8080/v2/models/digits
    kubectl -n monitoring port-forward service/prometheus 9090

how to send requests: docs/guides/serving.md
to stop: {"make down" if OWN_CLUSTER else "CLUSTER=current make down"}"""


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
