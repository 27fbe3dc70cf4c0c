"""Polls sources for their version: at once for a new spec, then at its pollInterval, with backoff after failures."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from keras_api.reasons import Reason
from keras_api.resource import KerasModel, SecretReference, SourceSpec
from keras_api.scalars import duration_seconds
from keras_operator.kube.client import KubeClient
from keras_operator.kube.errors import ApiError, UnavailableError
from keras_operator.kube.kinds import Key
from keras_operator.kube.metrics import Metrics
from keras_operator.kube.times import utc_now
from keras_operator.kube.workqueue import jittered
from keras_operator.state.failure import Failure, is_terminal
from keras_operator.state.source_resolution import SourceResolution, remembered
from keras_store.errors import StepError, StorageError, StorageErrorKind, source_failure
from keras_store.redaction import public_text, public_url
from keras_store.sources.fingerprint import Fingerprint, fingerprint
from keras_store.sources.registry import all_credential_keys, credential_keys, fixed_fingerprint

TIMEOUT_SECONDS = 20
FIRST_PAUSE_SECONDS = 5
LONGEST_PAUSE_SECONDS = 300
# Many sources may be slow at the same time; each request takes a connection and little else.
MAX_AT_ONCE = 32

log = logging.getLogger(__name__)


@dataclass
class _Entry:
    source: SourceSpec
    resolution: SourceResolution
    failures: int = 0
    invalidated: str = ""
    """Fingerprint that a step found to be outdated."""
    timer: asyncio.TimerHandle | None = None
    task: asyncio.Task[None] | None = None

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
        if self.task is not None:
            self.task.cancel()


@dataclass
class SourcePoller:
    """Keeps the last answer of every model's source.

    `enqueue` is called with a model's key when its answer has changed, and `ask` to poll a source.
    """

    client: KubeClient
    metrics: Metrics
    max_source_size: int
    enqueue: Callable[[Key], None]
    ask: Callable[..., Awaitable[Fingerprint]] = fingerprint
    clock: Callable[[], datetime] = utc_now
    _entries: dict[Key, _Entry] = field(default_factory=dict)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))

    def get(self, model: KerasModel) -> SourceResolution:
        """The last answer of the model's source; after a change of the spec the source is polled at once."""
        key = Key(model.metadata.namespace, model.metadata.name)
        source = model.spec.source
        entry = self._entries.get(key)
        if model.spec.suspend:
            self.forget(key)
            same = entry is not None and _is_same_file(entry.source, source)
            return entry.resolution if entry is not None and same else remembered(model)
        if entry is None:
            known = remembered(model)
            entry = self._entries[key] = _Entry(source, known)
            if known.fingerprint is None:
                entry.resolution = replace(known, asked=self.clock())
                self._ask(key, entry)
            else:
                # A restarted operator polls no source at once, and not all at the same time.
                self._ask_later(key, entry, _interval(source), spread=True)
        elif entry.source != source:
            known = entry.resolution if _is_same_file(entry.source, source) else SourceResolution()
            entry.stop()
            entry = self._entries[key] = _Entry(source, SourceResolution(known.fingerprint))
            self._ask(key, entry)
        return entry.resolution

    def invalidate(self, key: Key) -> None:
        """Poll a source again at once, but only once per answer: a step found a different file than that describes."""
        entry = self._entries.get(key)
        found = entry.resolution.fingerprint if entry is not None else None
        if entry is None or found is None or entry.invalidated == found.value:
            return
        entry.invalidated = found.value
        entry.stop()
        self._ask(key, entry)

    def forget(self, key: Key) -> None:
        """Stop polling for a model."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            entry.stop()

    def _ask_later(self, key: Key, entry: _Entry, seconds: float, *, spread: bool = False) -> None:
        if seconds <= 0:
            return
        pause = random.uniform(0, seconds) if spread else jittered(seconds)  # noqa: S311 - not a secret
        entry.timer = asyncio.get_running_loop().call_later(pause, self._ask, key, entry)

    def _ask(self, key: Key, entry: _Entry) -> None:
        entry.task = asyncio.get_running_loop().create_task(self._resolve(key, entry), name=f"resolve {key}")

    async def _resolve(self, key: Key, entry: _Entry) -> None:
        before = entry.resolution
        try:
            async with self._slots:
                found = await self._fingerprint(key, entry.source)
        except StepError as error:
            self._failed(key, entry, error.reason, error.message)
        except ApiError as error:
            self._failed(key, entry, Reason.FORBIDDEN, f"the operator cannot read the source's Secret: {error}")
        except UnavailableError as error:
            log.info("%s: cannot read the source's Secret: %s", key, error)
            self._again(key, entry)
        except Exception as error:
            log.exception("%s: polling the source failed", key)
            self._failed(
                key,
                entry,
                Reason.SOURCE_UNREACHABLE,
                f"{public_url(entry.source.uri)}: {type(error).__name__}: {public_text(str(error))}",
            )
        else:
            self.metrics.resolved("ok")
            entry.failures = 0
            entry.resolution = SourceResolution(found)
            self._ask_later(key, entry, _interval(entry.source))
        if entry.resolution != before:
            self.enqueue(key)

    async def _fingerprint(self, key: Key, source: SourceSpec) -> Fingerprint:
        credentials = await self._credentials(key, source)
        try:
            found = await self.ask(source.uri, source.s3, credentials, digest=source.digest, timeout=TIMEOUT_SECONDS)
        except StepError as error:
            if error.reason == Reason.SECRET_NOT_FOUND and source.secret_ref is not None:
                # The source reports the missing key, but does not know the Secret.
                raise StepError(error.reason, f"{_secret(key, source.secret_ref)}: {error.message}") from error
            raise
        if found.size_bytes is not None and found.size_bytes > self.max_source_size:
            size = (
                f"{public_url(source.uri)} has {found.size_bytes} bytes, more than the limit of {self.max_source_size}"
            )
            raise source_failure(StorageError(StorageErrorKind.TOO_LARGE, size))
        return found

    async def _credentials(self, key: Key, source: SourceSpec) -> Mapping[str, str]:
        reference = source.secret_ref
        if reference is None:
            return {}
        secret = await self.client.secret(key.namespace, reference.name)
        if secret is None:
            raise StepError(Reason.SECRET_NOT_FOUND, f"{_secret(key, reference)} does not exist: create it")
        needed = credential_keys(source.uri)
        # The keys in the Secret may be for the validation data, which may be in another place.
        if needed and not any(secret.get(name, "").strip() for name in all_credential_keys()):
            raise StepError(
                Reason.SECRET_NOT_FOUND,
                f"{_secret(key, reference)} has none of the keys {', '.join(needed)}: add those that the source needs",
            )
        return secret

    def _failed(self, key: Key, entry: _Entry, reason: Reason, message: str) -> None:
        self.metrics.resolved(reason)
        failure = Failure("resolve", reason, message, final=is_terminal(reason))
        # The last version is kept: its revision is still being served.
        entry.resolution = SourceResolution(entry.resolution.fingerprint, failure)
        self._again(key, entry)

    def _again(self, key: Key, entry: _Entry) -> None:
        entry.failures += 1
        pause = min(FIRST_PAUSE_SECONDS * 2 ** min(entry.failures - 1, 20), LONGEST_PAUSE_SECONDS)
        self._ask_later(key, entry, pause)


def _secret(key: Key, reference: SecretReference) -> str:
    return f"Secret {reference.name} in namespace {key.namespace} (spec.source.secretRef)"


def _interval(source: SourceSpec) -> float:
    """Seconds between two requests; 0 for a source that cannot change, or that the operator cannot reach."""
    if source.digest is not None or fixed_fingerprint(source.uri) is not None:
        return 0
    return duration_seconds(source.poll_interval)


def _is_same_file(one: SourceSpec, other: SourceSpec) -> bool:
    return (one.uri, one.s3, one.digest) == (other.uri, other.s3, other.digest)
