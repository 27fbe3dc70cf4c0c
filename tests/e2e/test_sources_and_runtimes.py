"""Sources and runtimes."""

from __future__ import annotations

import base64
from pathlib import Path

import kubectl as k8s
from keras_models import fetch


def test_a_model_that_cannot_be_converted_is_served_by_tensorflow_and_status_has_the_reason(model, files):
    model.apply(model.upload(files / "text.keras"))
    status = model.wait_ready(timeout=300)
    assert status["model"]["runtime"] == "tensorflow"
    assert status["model"]["notTaken"][0]["runtime"] == "onnxruntime"
    with model.forward() as url:
        good, bad = model.predict(url, [["good film"], ["bad film"]])
        assert fetch(f"{url}/v2/models/{model.name}")["inputs"][0]["datatype"] == "BYTES"
    assert good != bad


def test_a_model_with_a_custom_layer_is_served_once_its_code_is_provided(model, files):
    model.apply(model.upload(files / "own.keras"))
    failure = model.wait_failure("ModelUnsupported", kind="Stalled")
    assert "'acme>Doubled' (layer 'twice')" in failure["message"]
    assert "spec.source.customObjects.configMapRef" in failure["message"]
    code = (Path(__file__).parent / "own_layers.py").read_text()
    code_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "own"}, "data": {"own_layers.py": code}}
    k8s.apply(code_map, namespace=model.namespace)
    model.apply(model.address(), source={"customObjects": {"configMapRef": {"name": "own"}}})
    assert model.wait_ready()["model"]["runtime"] == "onnxruntime"
    with model.forward() as url:
        assert model.predict(url, [[1.0, 2.0, 3.0, 4.0]]) == [[2.0, 4.0, 6.0, 8.0]]


def test_a_model_on_a_volume_is_served(model, files):
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    k8s.apply(claim, namespace=model.namespace)
    write_to_claim(model.namespace, "models", files / "digits.keras", "team/digits.keras")
    model.apply("pvc://models/team/digits.keras")
    assert model.wait_ready()["model"]["runtime"] == "onnxruntime"


def test_a_missing_file_is_reported_and_found_once_it_exists(model, files):
    uri = f"s3://models/{model.namespace}/{model.name}/model.keras"
    model.apply(uri, source={"pollInterval": "10s"})
    condition = model.wait_reason("Ready", "SourceNotFound", timeout=60)
    assert uri in condition["message"]
    model.upload(files / "digits.keras")
    model.wait_ready()
    assert model.status["lastFailure"]["reason"] == "SourceNotFound"


def write_to_claim(namespace: str, claim: str, file, path: str) -> None:
    """Copy a file into a PersistentVolumeClaim through a pod of the server's image."""
    operator = k8s.get_list("deployment", "keras-system", "app.kubernetes.io/component=operator")[0]
    image = operator["spec"]["template"]["spec"]["containers"][0]["image"]
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "writer"},
        "spec": {
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "fsGroup": 65532},
            "restartPolicy": "Never",
            "containers": [
                {
                    "name": "writer",
                    "image": image,
                    "command": ["python3", "-c", "import signal; signal.pause()"],
                    "securityContext": security,
                    "volumeMounts": [{"name": "claim", "mountPath": "/claim"}],
                }
            ],
            "volumes": [{"name": "claim", "persistentVolumeClaim": {"claimName": claim}}],
        },
    }
    k8s.apply(pod, namespace=namespace)
    k8s.kubectl("wait", "pod/writer", "-n", namespace, "--for=condition=Ready", "--timeout=60s")
    program = (
        "import base64, pathlib, sys; p = pathlib.Path(sys.argv[1]); p.parent.mkdir(parents=True, exist_ok=True); "
        "p.write_bytes(base64.b64decode(sys.stdin.read()))"
    )

    text = base64.b64encode(file.read_bytes()).decode()
    k8s.kubectl("exec", "-i", "writer", "-n", namespace, "--", "python3", "-c", program, f"/claim/{path}", stdin=text)
    k8s.kubectl("delete", "pod", "writer", "-n", namespace, "--grace-period=0", "--force")
