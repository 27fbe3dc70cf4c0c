"""The operator's settings, read from environment variables that begin with ``KERAS_OPERATOR_``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from keras_api.scalars import duration_seconds, quantity

PREFIX = "KERAS_OPERATOR_"


class SettingsError(ValueError):
    """A setting that is missing or invalid; the text names the variable."""


@dataclass(frozen=True)
class Settings:
    """The operator's settings; each field is an environment variable, in upper case after ``KERAS_OPERATOR_``."""

    server_image: str
    """Image of the steps that move files, and of the server; without TensorFlow."""
    pipeline_image: str
    """Image of the step prepare, and of the server for models that only TensorFlow can run."""
    store_url: str
    """URL of the store: ``http://keras-store.<ns>.svc:8080`` or ``s3://bucket/prefix``."""
    store_secret: str = ""
    """Secret with an external store's options (STORE_AWS_ACCESS_KEY_ID, ...) in each model's namespace."""
    image_pull_policy: str = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    """Comma-separated names of Secrets in the models' namespaces."""
    watch_namespaces: tuple[str, ...] = ()
    """Comma-separated; empty means the whole cluster."""
    prepare_deadline: float = 3600.0
    """Seconds (written as a duration such as ``1h``) that a prepare Job may take, including the wait for a node."""
    prepare_memory: int = 0
    """Lower bound in bytes (a quantity) for the memory limit of each container of a prepare Job."""
    max_source_size: int = 8 * 1024**3
    """Largest model file in bytes, written as a quantity such as ``8Gi``."""
    concurrency: int = 16
    """Models reconciled at the same time; more do not help against one API server."""
    lease: str = ""
    """Lease (written ``namespace/name``) for leader election; empty where there is only one operator."""
    pod_name: str = ""
    """This operator's own pod, in the Lease's namespace; needed with `lease`."""
    resync_interval: float = 600.0
    """Seconds (a duration) between two full listings, which find changes that a watch has missed."""
    request_timeout: float = 30.0
    """Seconds (a duration) after which a request to the API server fails; the server's own limit is a minute."""
    listen: str = "0.0.0.0:8080"
    """Address of /healthz and /metrics."""
    log_level: str = "INFO"
    log_format: str = "json"
    """``json`` or ``text``."""

    @property
    def namespaces(self) -> tuple[str | None, ...]:
        """Namespaces to list and watch, where None stands for all."""
        return self.watch_namespaces or (None,)


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Settings from environment variables.

    Raises:
        SettingsError: naming the variable, the error, and an example of a valid value.
    """
    values: dict[str, Any] = {}
    for name, (convert, example) in _FORMATS.items():
        text = environ.get(PREFIX + name.upper(), "").strip()
        if not text:
            continue
        try:
            values[name] = convert(text)
        except ValueError as error:
            raise SettingsError(f"{PREFIX}{name.upper()}={text!r} is not valid; write for example {example}") from error
    for name in ("server_image", "pipeline_image", "store_url"):
        if name not in values:
            raise SettingsError(f"{PREFIX}{name.upper()} is not set; write for example {_FORMATS[name][1]}")
    if "lease" in values and "pod_name" not in values:
        raise SettingsError(f"{PREFIX}LEASE needs {PREFIX}POD_NAME, the name of the operator's own pod")
    return Settings(**values)


def _words(text: str) -> tuple[str, ...]:
    return tuple(word for word in (part.strip() for part in text.split(",")) if word)


def _one_of(*choices: str) -> Callable[[str], str]:
    def choose(text: str) -> str:
        if text not in choices:
            raise ValueError(text)
        return text

    return choose


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not 0 <= int(port) < 65536:
        raise ValueError(text)
    return text


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _bytes(text: str) -> int:
    return int(quantity(text))


def _namespaced(text: str) -> str:
    namespace, _, name = text.partition("/")
    if not namespace or not name or "/" in name:
        raise ValueError(text)
    return text


def _store_url(text: str) -> str:
    if not text.startswith(("http://", "https://", "s3://")):
        raise ValueError(text)
    return text.rstrip("/")


_FORMATS: dict[str, tuple[Callable[[str], Any], str]] = {
    "server_image": (str, "registry.example.org/keras-operator/server:0.1.0"),
    "pipeline_image": (str, "registry.example.org/keras-operator/pipeline:0.1.0"),
    "store_url": (_store_url, "http://keras-store.keras-system.svc:8080 or s3://bucket/prefix"),
    "store_secret": (str, "keras-store"),
    "image_pull_policy": (_one_of("Always", "IfNotPresent", "Never"), "IfNotPresent"),
    "image_pull_secrets": (_words, "registry-credentials"),
    "watch_namespaces": (_words, "team-a,team-b"),
    "prepare_deadline": (duration_seconds, "1h"),
    "prepare_memory": (_bytes, "4Gi"),
    "max_source_size": (_bytes, "8Gi"),
    "concurrency": (_positive, "16"),
    "lease": (_namespaced, "keras-system/keras-operator"),
    "pod_name": (str, "keras-operator-5d8f9c7b6-x2x7k"),
    "resync_interval": (duration_seconds, "10m"),
    "request_timeout": (duration_seconds, "30s"),
    "listen": (_address, "0.0.0.0:8080"),
    "log_level": (_one_of("DEBUG", "INFO", "WARNING", "ERROR"), "INFO"),
    "log_format": (_one_of("json", "text"), "json"),
}
