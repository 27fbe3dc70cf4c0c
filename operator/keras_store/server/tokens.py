"""Authentication of pods by ServiceAccount token: TokenReviews by the API server, with a cache of one minute."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import ssl
import time
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, Self

import aiohttp
from prometheus_client import CollectorRegistry, Counter

from keras_store.store_access import AUDIENCE, READ_SUFFIX

log = logging.getLogger(__name__)

_ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_ACCOUNT = re.compile(r"system:serviceaccount:(?P<namespace>[^:]+):(?P<name>[^:]+)")

_CACHE_SECONDS = 60.0
_CACHE_ENTRIES = 4096  # a bound on the memory, whatever number of invalid tokens clients send
_MAX_TOKEN_CHARACTERS = 16 << 10
_TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_connect=5.0)


@dataclass(frozen=True)
class Account:
    """A ServiceAccount. Its text is the API server's user name: ``system:serviceaccount:<namespace>:<name>``."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, user: str) -> Account:
        """Parse a user name.

        Raises:
            ValueError: when the user is not a ServiceAccount.
        """
        match = _ACCOUNT.fullmatch(user)
        if match is None:
            raise ValueError(f"{user} is not a ServiceAccount (system:serviceaccount:<namespace>:<name>)")
        return cls(match["namespace"], match["name"])

    def __str__(self) -> str:
        return f"system:serviceaccount:{self.namespace}:{self.name}"


@dataclass(frozen=True)
class Identity:
    """What a token proves."""

    account: Account
    may_write: bool


class InvalidTokenError(Exception):
    """The token is invalid; the text has the cause."""


class NotServiceAccountError(Exception):
    """The token is valid, but its user is not a ServiceAccount."""


class ReviewUnavailableError(Exception):
    """The API server does not answer the TokenReview."""


class Authenticator(Protocol):
    """Finds the identity that a token proves."""

    async def identity(self, token: str) -> Identity:
        """The token's ServiceAccount, and whether the token allows writing.

        Raises:
            InvalidTokenError: unknown, expired, or for another audience.
            NotServiceAccountError: the token of another kind of user.
            ReviewUnavailableError: the token cannot be checked.
        """
        ...


@dataclass(frozen=True)
class ApiServer:
    """Address of the API server, and the store's own credentials for it."""

    url: str
    ca_file: Path
    token_file: Path

    @classmethod
    def in_cluster(cls) -> ApiServer:
        """From the environment of a pod.

        Raises:
            KeyError: outside of a pod.
        """
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        address = f"[{host}]" if ":" in host else host
        return cls(f"https://{address}:{port}", _ACCOUNT_FOLDER / "ca.crt", _ACCOUNT_FOLDER / "token")


_Result = Identity | InvalidTokenError | NotServiceAccountError


class TokenReviewer:
    """An `Authenticator` by TokenReview. An async context manager.

    Results are cached for a minute: the token of a deleted ServiceAccount is valid until then.

    Args:
        server: reviews the tokens.
        registry: of the metrics.
        audience: of tokens that read and write; tokens for this audience with the suffix ``-read`` only read.
    """

    def __init__(self, server: ApiServer, registry: CollectorRegistry, audience: str = AUDIENCE) -> None:
        self._server = server
        self._audience = audience
        self._audiences = [audience, audience + READ_SUFFIX]
        self._client: aiohttp.ClientSession | None = None
        self._cache: OrderedDict[bytes, tuple[float, _Result]] = OrderedDict()
        self._reviews = Counter(
            "keras_store_token_reviews_total", "TokenReviews sent to the API server.", ["outcome"], registry=registry
        )

    async def __aenter__(self) -> Self:
        tls = ssl.create_default_context(cafile=str(self._server.ca_file))
        self._client = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=tls, limit=16), timeout=_TIMEOUT, trust_env=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    async def identity(self, token: str) -> Identity:
        """The token's ServiceAccount, and whether the token allows writing; see `Authenticator`."""
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise InvalidTokenError("the token is too long")
        key = hashlib.sha256(token.encode()).digest()
        expiry, result = self._cache.get(key, (0.0, None))
        if result is None or expiry < time.monotonic():
            result = self._result(await self._review(token))
            self._cache[key] = (time.monotonic() + _CACHE_SECONDS, result)
            self._cache.move_to_end(key)
            if len(self._cache) > _CACHE_ENTRIES:
                self._cache.popitem(last=False)
        if isinstance(result, Identity):
            return result
        # A new instance each time: an exception that was raised keeps its traceback, and with it whole requests.
        raise type(result)(*result.args)

    def _result(self, status: dict[str, Any]) -> _Result:
        if not status.get("authenticated"):
            log.info("token rejected: %s", status.get("error", "no reason given"))
            return InvalidTokenError(f"the token is unknown, expired, or not for the audience {self._audience}")
        # An API server without support for audiences omits this field.
        audiences = set(status.get("audiences", [])) & set(self._audiences)
        if not audiences:
            return InvalidTokenError(f"the token is not for the audience {self._audience}")
        try:
            account = Account.parse(status.get("user", {}).get("username", ""))
        except ValueError as error:
            return NotServiceAccountError(str(error))
        return Identity(account, may_write=self._audience in audiences)

    async def _review(self, token: str) -> dict[str, Any]:
        if self._client is None:
            raise RuntimeError("use the reviewer as an async context manager")
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": self._audiences},
        }
        try:
            # Read for every request: the kubelet rotates the store's own token too.
            headers = {"Authorization": f"Bearer {self._server.token_file.read_text().strip()}"}
            url = f"{self._server.url}/apis/authentication.k8s.io/v1/tokenreviews"
            async with self._client.post(url, json=review, headers=headers) as response:
                if response.status != 201:
                    text = (await response.text())[:500]
                    raise self._unavailable(
                        f"the API server answers {response.status} to the TokenReview (the ServiceAccount of the store "
                        f"needs the verb create on tokenreviews.authentication.k8s.io): {text}"
                    )
                status = (await response.json())["status"]
        except (aiohttp.ClientError, TimeoutError, OSError, KeyError, ValueError) as error:
            raise self._unavailable(f"no TokenReview from {self._server.url}: {error!r}") from error
        self._reviews.labels("authenticated" if status.get("authenticated") else "refused").inc()
        return dict(status)

    def _unavailable(self, text: str) -> ReviewUnavailableError:
        self._reviews.labels("unavailable").inc()
        log.error("%s", text)
        return ReviewUnavailableError("the store cannot check tokens: no answer from the API server")
