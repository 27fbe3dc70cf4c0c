"""The Kubernetes client: plain dicts in and out, a timeout on every request, two types of errors."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp
import msgspec
from kubernetes.aio import client, config

from keras_operator.kube.errors import ApiError, UnavailableError
from keras_operator.kube.evidence import Evidence
from keras_operator.kube.identity import MANAGER
from keras_operator.kube.kinds import EVENT, KERAS_MODEL, POD, SECRET, Key, Kind, Object
from keras_operator.kube.metrics import Metrics

CONNECT_SECONDS = 10
# Upper bound for Retry-After, in seconds.
LONGEST_RETRY_AFTER = 30.0
# A page is held in memory as a whole, as text and as dicts; smaller pages cost more requests.
PAGE = 200
# Enough for any line that a person reads.
LOG_BYTES = 16384

_JSON = "application/json"
_JSON_PATCH = "application/json-patch+json"
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class _Call(NamedTuple):
    """A request to the API server."""

    method: str
    verb: str
    """For messages and metrics."""
    kind: Kind
    path: str
    body: Any = None
    content: str = _JSON
    query: Sequence[tuple[str, str]] = ()

    @property
    def text(self) -> str:
        """The request, for messages."""
        return f"{self.verb} {self.path}"


class _Answer(NamedTuple):
    """A response of the API server, of any status."""

    status: int
    data: bytes
    retry_after: float | None


class KubeClient:
    """A connection to the API server, with one pool of connections and one login."""

    def __init__(
        self,
        connection: client.ApiClient,
        metrics: Metrics,
        timeout: aiohttp.ClientTimeout,
        permit: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`permit` is awaited before every write; an exception prevents the write."""
        self._client = connection
        self._metrics = metrics
        self._timeout = timeout
        self._permit = permit

    @property
    def server(self) -> str:
        """URL of the API server."""
        return str(self._client.configuration.host)

    def session(self, *middlewares: aiohttp.ClientMiddlewareType) -> aiohttp.ClientSession:
        """Another session over the same connections, with the same credentials; closing it closes no connection."""
        configuration = self._client.configuration

        async def authorize(
            request: aiohttp.ClientRequest, proceed: aiohttp.ClientHandlerType
        ) -> aiohttp.ClientResponse:
            token = await configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
            if token:
                request.headers["Authorization"] = token
            return await proceed(request)

        return aiohttp.ClientSession(
            connector=configuration.client_session_kwargs["connector"],
            connector_owner=False,
            middlewares=[authorize, *middlewares],
            proxy=configuration.proxy,
        )

    def guarded(self, permit: Callable[[], Awaitable[None]]) -> KubeClient:
        """The same connection with a guard before every write."""
        return KubeClient(self._client, self._metrics, self._timeout, permit)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()
        await self._client.configuration.client_session_kwargs["connector"].close()

    async def apply(self, kind: Kind, obj: Object) -> Object:
        """Server-side apply: own the given fields, by force where another manager owns them."""
        metadata = obj["metadata"]
        query = [("fieldManager", MANAGER), ("force", "true")]
        path = kind.path(metadata["namespace"], metadata["name"])
        return await self._request(_Call("PATCH", "apply", kind, path, obj, _APPLY, query))

    async def replace_spec(self, kind: Kind, obj: Object) -> None:
        """Merge an object's spec over the live one; unlike `apply` this replaces every list as a whole."""
        metadata = obj["metadata"]
        path = kind.path(metadata["namespace"], metadata["name"])
        query = [("fieldManager", MANAGER)]
        await self._request(_Call("PATCH", "patch", kind, path, {"spec": obj["spec"]}, _MERGE, query))

    async def replace_status(self, key: Key, uid: str, status: Object) -> Object:
        """Replace a KerasModel's status, unless the name belongs to another object by now (status 422)."""
        patch = [
            {"op": "test", "path": "/metadata/uid", "value": uid},
            {"op": "add", "path": "/status", "value": status},
        ]
        path = KERAS_MODEL.path(key.namespace, key.name, "status")
        query = [("fieldManager", MANAGER)]
        return await self._request(_Call("PATCH", "patch status of", KERAS_MODEL, path, patch, _JSON_PATCH, query))

    async def get(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """An object; None when it does not exist."""
        try:
            return await self._request(_Call("GET", "get", kind, kind.path(namespace, name)))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete an object and what it owns, unless it does not exist or its name belongs to another object by now."""
        body = {"propagationPolicy": "Background", "preconditions": {"uid": uid}}
        try:
            await self._request(_Call("DELETE", "delete", kind, kind.path(namespace, name), body))
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def pages(
        self, kind: Kind, namespace: str | None, selector: str = ""
    ) -> AsyncIterator[tuple[list[Object], int]]:
        """All objects of a kind with certain labels, page by page, each with the listing's resourceVersion."""
        query = [("limit", str(PAGE)), *([("labelSelector", selector)] if selector else [])]
        token = ""
        while True:
            page_query = [*query, *([("continue", token)] if token else [])]
            page = await self._request(_Call("GET", "list", kind, kind.path(namespace), query=page_query))
            token = page["metadata"].get("continue", "")
            items = page.get("items") or []
            # The items of a list have neither apiVersion nor kind: the list has them.
            for item in items:
                item |= {"apiVersion": kind.api_version, "kind": kind.name}
            yield items, int(page["metadata"]["resourceVersion"])
            if not token:
                return

    async def serves(self, kind: Kind) -> bool:
        """Whether the cluster serves a kind."""
        try:
            found = await self._request(_Call("GET", "discover", kind, kind.discovery_path))
        except ApiError as error:
            if error.status == 404:
                return False
            raise
        return any(each["name"] == kind.plural for each in found.get("resources") or [])

    async def secret(self, namespace: str, name: str) -> Mapping[str, str] | None:
        """The decoded data of a Secret; None when it does not exist."""
        found = await self.get(SECRET, namespace, name)
        if found is None:
            return None
        data = found.get("data") or {}
        return {key: base64.b64decode(value).decode(errors="replace") for key, value in data.items()}

    async def create_event(self, event: Object) -> None:
        """Create an Event."""
        path = EVENT.path(event["metadata"]["namespace"])
        await self._request(_Call("POST", "create", EVENT, path, event, query=[("fieldManager", MANAGER)]))

    async def warnings(self, namespace: str, uid: str) -> list[Evidence]:
        """Warning Events about an object, the latest last."""
        query = [("fieldSelector", f"involvedObject.uid={uid},type=Warning"), ("limit", str(PAGE))]
        found = await self._request(_Call("GET", "list", EVENT, EVENT.path(namespace), query=query))
        events = sorted(found.get("items") or [], key=lambda each: int(each["metadata"]["resourceVersion"]))
        return [_evidence(each) for each in events]

    async def last_log_line(self, namespace: str, pod: str, container: str) -> str:
        """The last line that a container has logged; empty when there is none."""
        query = [("container", container), ("tailLines", "5"), ("limitBytes", str(LOG_BYTES))]
        path = POD.path(namespace, pod, "log")
        call = _Call("GET", "get", POD, path, query=query)
        answer = await self._exchange(call)
        if answer.status >= 300:
            _read(answer, call.text)
        lines = answer.data.decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    async def _request(self, call: _Call) -> Object:
        return _read(await self._exchange(call), call.text)

    async def _exchange(self, call: _Call) -> _Answer:
        if self._permit is not None and call.method != "GET":
            await self._permit()
        began = time.perf_counter()
        code = "none"
        try:
            request = await self._client.param_serialize(
                call.method,
                call.path,
                query_params=list(call.query),
                header_params={"Content-Type": call.content, "Accept": _JSON},
                body=call.body,
                auth_settings=["BearerToken"],
            )
            response = await self._client.call_api(*request, _request_timeout=self._timeout)
            code = str(response.status)
            data = await response.read()
        except TimeoutError as error:
            raise UnavailableError(f"{call.text}: no answer within {self._timeout.total:g} s") from error
        except aiohttp.ClientError as error:
            raise UnavailableError(f"{call.text}: {error}") from error
        finally:
            seconds = time.perf_counter() - began
            self._metrics.api_request(call.verb.split()[0], call.kind.plural, code, seconds)
        return _Answer(response.status, data, _retry_after(response.headers))


def _evidence(event: Object) -> Evidence:
    # An Event names a container by the field's path in the pod: ``spec.containers{server}``.
    container = event["involvedObject"].get("fieldPath", "").partition("{")[2].removesuffix("}")
    return Evidence(event.get("reason", ""), event.get("message", ""), container)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of the header Retry-After; the API server sends no dates."""
    text = headers.get("Retry-After", "")
    return min(float(text), LONGEST_RETRY_AFTER) if text.isdecimal() else None


def _read(answered: _Answer, what: str) -> Object:
    status, data, retry_after = answered
    if status >= 300:
        message = message_of(data)
        if status in (429, 500, 502, 503, 504):
            raise UnavailableError(f"{what}: {status} {message}", retry_after)
        raise ApiError(status, message, what)
    try:
        answer: Object = msgspec.json.decode(data)
    except msgspec.DecodeError as error:
        raise UnavailableError(f"{what}: the answer is not JSON (is this the API server?)") from error
    return answer


def message_of(data: bytes) -> str:
    """The message of a Status object; the beginning of any other body."""
    try:
        return str(msgspec.json.decode(data)["message"])
    except (msgspec.DecodeError, KeyError, TypeError):
        return data[:200].decode(errors="replace")


async def connect(metrics: Metrics, max_connections: int, timeout: float) -> KubeClient:  # noqa: ASYNC109 - of requests
    """Connect with the pod's service account, or as kubectl would.

    Args:
        metrics: counts the requests.
        max_connections: upper bound for the number of open connections; 0 for no bound.
        timeout: seconds after which a request fails.

    Raises:
        ConfigException: when there is neither a service account nor a kubeconfig.
    """
    settings = client.Configuration()
    if "KUBERNETES_SERVICE_HOST" in os.environ:
        config.load_incluster_config(client_configuration=settings)
    else:
        await config.load_kube_config(config_file=os.environ.get("KUBECONFIG") or None, client_configuration=settings)
    api_client = client.ApiClient(settings)
    settings.client_session_kwargs = {
        # Reading netrc and the proxy variables costs as much as the request itself.
        "trust_env": False,
        # The watches use the same connections (`KubeClient.session`).
        "connector": aiohttp.TCPConnector(limit=max_connections, ssl=api_client.rest_client.ssl_context),
    }
    limits = aiohttp.ClientTimeout(total=timeout, sock_connect=min(timeout, CONNECT_SECONDS))
    return KubeClient(api_client, metrics, limits)
