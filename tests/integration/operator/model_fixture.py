"""One model in one namespace, with the actions and checks of a test."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kube import Kube, Object, wait_until
from kubelet import Kubelet


@dataclass
class ModelFixture:
    kube: Kube
    namespace: str
    name: str = "digits"
    kubelet: Kubelet = field(init=False)

    def __post_init__(self) -> None:
        self.kubelet = Kubelet(self.kube, self.namespace)

    def create(self, uri: str, **spec: Any) -> Object:
        return self.kube.create(
            {
                "apiVersion": "keras-operator.dev/v1alpha1",
                "kind": "KerasModel",
                "metadata": {"name": self.name, "namespace": self.namespace},
                "spec": {"source": {"uri": uri, **spec.pop("source", {})}, **spec},
            }
        )

    def change(self, **spec: Any) -> Object:
        return self.kube.patch("kerasmodels", self.namespace, self.name, {"spec": spec})

    def rule(self, kind: str, spec: Object) -> Callable[[], None]:
        """A ResourceQuota or LimitRange in the model's namespace; the result removes it."""
        metadata = {"name": "small", "namespace": self.namespace}
        self.kube.create({"apiVersion": "v1", "kind": kind, "metadata": metadata, "spec": spec})
        return lambda: self.kube.delete(f"{kind.lower()}s", self.namespace, "small")

    def resource(self) -> Object:
        found = self.kube.get("kerasmodels", self.namespace, self.name)
        assert found is not None, f"{self.name} does not exist"
        return found

    def status(self) -> Object:
        return self.resource().get("status", {})

    def condition(self, kind: str) -> Object:
        return next((each for each in self.status().get("conditions", []) if each["type"] == kind), {})

    def child(self, plural: str, name: str = "") -> Object | None:
        return self.kube.get(plural, self.namespace, name or self.name)

    def wait_for(self, kind: str, status: str, reason: str = "") -> Object:
        """The condition, once it has this status and reason for the present generation."""

        def find_condition() -> Object | None:
            model = self.resource()
            for each in model.get("status", {}).get("conditions", []):
                if (
                    each["type"] == kind
                    and each["status"] == status
                    and reason in ("", each["reason"])
                    and each["observedGeneration"] == model["metadata"]["generation"]
                ):
                    return each
            return None

        try:
            found: Object = wait_until(find_condition, f"{kind} {status} {reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}; the status is {json.dumps(self.status(), indent=1)}") from None
        return found

    def wait_for_child(self, plural: str, name: str = "") -> Object:
        found: Object = wait_until(lambda: self.child(plural, name), f"{plural} {name or self.name}")
        return found

    def serve(self, uri: str, replicas: int = 1, **spec: Any) -> str:
        """Create the model and make it Ready. Returns the revision."""
        self.create(uri, **spec)
        self.kubelet.complete_prepare(self.name)
        self.kubelet.make_servers_ready(self.name, replicas)
        self.wait_for("Ready", "True")
        return str(self.status()["servingRevision"])
