"""`make down`: stops what `make demo` started.

This stops the cluster on this machine. With CLUSTER=current, it removes the objects of the demo from the cluster of the
current context.
"""

from __future__ import annotations

import subprocess
import sys

from cluster import addons
from cluster.console import ClusterError
from cluster.target import Target
from kubectl import OWN_CLUSTER, ROOT, CommandError, kubectl, run

DEMO = "default/digits"
DEFINITION = "kerasmodels.keras-operator.dev"


def main() -> int:
    """Remove everything; returns the exit code."""
    if OWN_CLUSTER:
        return subprocess.run(["python3", "hack/cluster", "down"], cwd=ROOT, check=False).returncode
    try:
        remove()
    except (CommandError, ClusterError) as error:
        print(error, file=sys.stderr)
        return 1
    print("everything that the demo installed is removed, except for the images in the registry")
    return 0


def remove() -> None:
    """Remove the model, the operator with its definition and its bundles, and the add-ons.

    Raises:
        CommandError, ClusterError: an object cannot be removed, or does not belong to the demo.
    """
    models = _models()
    if others := [name for name in models if name != DEMO]:
        raise CommandError(
            f"{', '.join(others)}: these KerasModels do not belong to the demo, and are deleted together with the "
            "definition. Nothing was removed: delete them first, or keep the operator"
        )
    namespace, _, name = DEMO.partition("/")
    if DEMO in models:
        # Together with its children, before the definition is deleted.
        _delete("kerasmodel", name, "-n", namespace, "--cascade=foreground")
    _delete("secret", "models-reader", "-n", namespace)
    run("helm", "uninstall", "keras-operator", "-n", "keras-system", "--ignore-not-found", "--wait", timeout=300)
    _delete("crd", DEFINITION)
    _delete("namespace", "keras-system")
    target = Target.from_environment(pushes=False)
    for addon in ("monitoring", "s3"):
        addons.remove(target, addon)


def _models() -> list[str]:
    """All KerasModels, as namespace/name."""
    if not kubectl("get", "crd", DEFINITION, "--ignore-not-found", "-o", "name").strip():
        return []
    template = '{range .items[*]}{.metadata.namespace}/{.metadata.name}{"\\n"}{end}'
    return kubectl("get", "kerasmodels", "--all-namespaces", "-o", f"jsonpath={template}").split()


def _delete(*what: str) -> None:
    print(kubectl("delete", *what, "--ignore-not-found", "--timeout=300s", timeout=320), end="")


if __name__ == "__main__":
    sys.exit(main())
