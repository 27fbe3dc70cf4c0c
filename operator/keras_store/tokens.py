"""Who asks: ServiceAccount tokens of pods, checked by the API server (TokenReview), remembered for a minute."""

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

log = logging.getLogger(__name__)

# A token for the first audience reads and writes, one for the second reads only.
AUDIENCE = "keras-store"
READ_SUFFIX = "-read"

_ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_ACCOUNT = re.compile(r"system:serviceaccount:(?P<namespace>[^:]+):(?P<name>[^:]+)")

_REMEMBER_SECONDS = 60.0
_REMEMBERED = 4096  # tokens; a flood of invented ones must not fill the memory
_MAX_TOKEN_CHARACTERS = 16 << 10
_TIMEOUT = aiohttp.ClientTimeout(total=10.0, sock_connect=5.0)


@dataclass(frozen=True)
class Account:
    """A ServiceAccount, written as the API server names it: ``system:serviceaccount:<namespace>:<name>``."""

    namespace: str
    name: str

    @classmethod
    def parse(cls, user: str) -> Account:
        """Read a user's name.

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
class Holder:
    """Who holds a token, and what it was made for."""

    account: Account
    may_write: bool


class InvalidTokenError(Exception):
    """The token proves nothing; the text says why."""


class WrongAccountError(Exception):
    """The token is good, but it is not a ServiceAccount's."""


class ReviewUnavailableError(Exception):
    """The API server does not say whether the token is good."""


class Tokens(Protocol):
    """Tells who holds a token."""

    async def holder(self, token: str) -> Holder:
        """The token's ServiceAccount, and whether the token lets it write.

        Raises:
            InvalidTokenError: unknown, expired, or for another audience.
            WrongAccountError: not a ServiceAccount's.
            ReviewUnavailableError: nobody can tell now.
        """
        ...


@dataclass(frozen=True)
class ApiServer:
    """Where the API server is, and how to be known to it."""

    url: str
    ca_file: Path
    token_file: Path

    @classmethod
    def in_cluster(cls) -> ApiServer:
        """From a pod's own environment.

        Raises:
            KeyError: outside of a pod.
        """
        host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ["KUBERNETES_SERVICE_PORT"]
        address = f"[{host}]" if ":" in host else host
        return cls(f"https://{address}:{port}", _ACCOUNT_FOLDER / "ca.crt", _ACCOUNT_FOLDER / "token")


_Answer = Holder | InvalidTokenError | WrongAccountError


class TokenReviews:
    """Tokens that the API server checks. An async context manager.

    Answers are remembered for a minute: so long may a deleted ServiceAccount's token still be taken.

    Args:
        server: who checks.
        registry: where the metrics are kept.
        audience: of tokens that read and write; those for this audience and ``-read`` read.
    """

    def __init__(self, server: ApiServer, registry: CollectorRegistry, audience: str = AUDIENCE) -> None:
        self._server = server
        self._audience = audience
        self._audiences = [audience, audience + READ_SUFFIX]
        self._client: aiohttp.ClientSession | None = None
        self._known: OrderedDict[bytes, tuple[float, _Answer]] = OrderedDict()
        self._reviews = Counter(
            "keras_store_token_reviews_total", "Questions to the API server.", ["outcome"], registry=registry
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

    async def holder(self, token: str) -> Holder:
        """The token's ServiceAccount, and whether the token lets it write; see `Tokens`."""
        if len(token) > _MAX_TOKEN_CHARACTERS:
            raise InvalidTokenError("the token is too long")
        key = hashlib.sha256(token.encode()).digest()
        until, answer = self._known.get(key, (0.0, None))
        if answer is None or until < time.monotonic():
            answer = self._judge(await self._review(token))
            self._known[key] = (time.monotonic() + _REMEMBER_SECONDS, answer)
            self._known.move_to_end(key)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        if isinstance(answer, Holder):
            return answer
        # A new one each time: a raised exception keeps its traceback, and with it whole requests.
        raise type(answer)(*answer.args)

    def _judge(self, status: dict[str, Any]) -> _Answer:
        if not status.get("authenticated"):
            log.info("token refused: %s", status.get("error", "no reason given"))
            return InvalidTokenError(f"the token is unknown, expired, or not for the audience {self._audience}")
        # An API server that knows nothing of audiences would leave this out.
        audiences = set(status.get("audiences", [])) & set(self._audiences)
        if not audiences:
            return InvalidTokenError(f"the token is not for the audience {self._audience}")
        try:
            account = Account.parse(status.get("user", {}).get("username", ""))
        except ValueError as error:
            return WrongAccountError(str(error))
        return Holder(account, may_write=self._audience in audiences)

    async def _review(self, token: str) -> dict[str, Any]:
        if self._client is None:
            raise RuntimeError("use the reviews as an async context manager")
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": self._audiences},
        }
        try:
            # The kubelet renews the store's own token too.
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
        return ReviewUnavailableError("the store cannot check tokens now (no answer from the API server)")
