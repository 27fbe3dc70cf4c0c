"""A small synchronous client of the API for tests: plain dicts by plural name, and waiting with a timeout."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kubernetes import client, config

# Longer than the operator's request timeout (30 s), after which it repeats a request that got no answer.
WAIT_SECONDS = 60

Object = dict[str, Any]

_GROUPS = {
    "serviceaccounts": "/api/v1",
    "services": "/api/v1",
    "pods": "/api/v1",
    "secrets": "/api/v1",
    "events": "/api/v1",
    "resourcequotas": "/api/v1",
    "limitranges": "/api/v1",
    "jobs": "/apis/batch/v1",
    "deployments": "/apis/apps/v1",
    "replicasets": "/apis/apps/v1",
    "clusterroles": "/apis/rbac.authorization.k8s.io/v1",
    "leases": "/apis/coordination.k8s.io/v1",
    "kerasmodels": "/apis/keras-operator.dev/v1alpha1",
    "horizontalpodautoscalers": "/apis/autoscaling/v2",
    "servicemonitors": "/apis/monitoring.coreos.com/v1",
}
_PLURALS = {
    "Role": "roles",
    "RoleBinding": "rolebindings",
    "ClusterRole": "clusterroles",
    "ClusterRoleBinding": "clusterrolebindings",
    "Namespace": "namespaces",
    "CustomResourceDefinition": "customresourcedefinitions",
    "KerasModel": "kerasmodels",
    "Pod": "pods",
    "ServiceAccount": "serviceaccounts",
    "ResourceQuota": "resourcequotas",
    "LimitRange": "limitranges",
    "Service": "services",
    "Secret": "secrets",
    "Event": "events",
}


class KubeError(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Kube:
    def __init__(self, kubeconfig: Path) -> None:
        self._client = config.new_client_from_config(str(kubeconfig))

    @staticmethod
    def unique() -> str:
        return uuid.uuid4().hex[:6]

    def create(self, obj: Object) -> Object:
        group, _, version = obj["apiVersion"].rpartition("/")
        base = f"/apis/{group}/{version}" if group else f"/api/{version}"
        namespace = obj["metadata"].get("namespace")
        where = f"/namespaces/{namespace}" if namespace else ""
        # As kubectl does: unknown fields are rejected.
        query = [("fieldValidation", "Strict")]
        return self._request("POST", f"{base}{where}/{_PLURALS[obj['kind']]}", obj, query=query)

    def get(self, plural: str, namespace: str, name: str) -> Object | None:
        try:
            return self._request("GET", self._path(plural, namespace, name))
        except KubeError as error:
            if error.status == 404:
                return None
            raise

    def list(self, plural: str, namespace: str, selector: str = "") -> list[Object]:
        query = [("labelSelector", selector)] if selector else []
        return self._request("GET", self._path(plural, namespace), query=query)["items"]

    def patch(
        self, plural: str, namespace: str, name: str, body: Any, subresource: str = "", kind: str = "merge"
    ) -> Object:
        path = self._path(plural, namespace, name) + (f"/{subresource}" if subresource else "")
        query = [("fieldManager", "another-client")]
        return self._request("PATCH", path, body, query=query, content=f"application/{kind}-patch+json")

    def delete(self, plural: str, namespace: str, name: str) -> None:
        try:
            self._request("DELETE", self._path(plural, namespace, name), {"propagationPolicy": "Background"})
        except KubeError as error:
            if error.status != 404:
                raise

    def token(self, namespace: str, account: str) -> str:
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
        found: str = self._request("POST", path, body)["status"]["token"]
        return found

    def delete_crd(self, name: str) -> None:
        self._request("DELETE", f"/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}", {})

    def serves(self, path: str) -> bool:
        try:
            self._request("GET", path)
        except KubeError:
            return False
        return True

    def _path(self, plural: str, namespace: str, name: str = "") -> str:
        where = f"/namespaces/{namespace}" if namespace else ""
        return f"{_GROUPS[plural]}{where}/{plural}" + (f"/{name}" if name else "")

    def _request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        query: Any = (),
        content: str = "application/json",
    ) -> Object:
        call = self._client.param_serialize(
            method,
            path,
            query_params=list(query),
            header_params={"Content-Type": content, "Accept": "application/json"},
            body=body,
        )
        try:
            response = self._client.call_api(*call, _request_timeout=20)
        except client.ApiException as error:
            raise KubeError(error.status, str(error.body)) from error
        data = response.read()
        if response.status >= 300:
            raise KubeError(response.status, data.decode())
        answer: Object = json.loads(data)
        return answer


def wait_until(
    ready: Callable[[], Any],
    what: str,
    timeout: float = WAIT_SECONDS,
    interval: float = 0.05,
    describe: Callable[[], str] = str,
) -> Any:
    """The result of `ready`, once it is true.

    Raises:
        AssertionError: the timeout is over; the text contains `what`, and the state that `describe` returns.
    """
    deadline = time.monotonic() + timeout
    while True:
        found = ready()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"timed out after {timeout:g} s waiting for {what} {describe()}".rstrip())
        time.sleep(interval)
