"""The writes of a user, from the audit log of the API server."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WRITES = ["create", "update", "patch", "delete", "deletecollection"]
_MODEL = re.compile(r"model-\d{5}")


@dataclass(frozen=True)
class Write:
    """A request that changes something."""

    method: str
    uri: str
    body: Any
    resource: str
    """Plural, with the subresource if there is one: ``kerasmodels/status``."""

    @property
    def content(self) -> str:
        """The media type, which the log does not contain."""
        if self.method != "PATCH":
            return "application/json"
        if "force=true" in self.uri:
            return "application/apply-patch+yaml"
        return f"application/{'json' if isinstance(self.body, list) else 'merge'}-patch+json"


class AuditLog:
    """The audit log of one API server, which contains only the writes of one user."""

    def __init__(self, folder: Path, user: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / "audit.log"
        self._policy = folder / "audit-policy.json"
        self._read = 0
        rules = [{"level": "Request", "users": [user], "verbs": _WRITES}, {"level": "None"}]
        policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"], "rules": rules}
        self._policy.write_text(json.dumps(policy))

    @property
    def flags(self) -> list[str]:
        """Command line options for the API server."""
        return [f"--audit-policy-file={self._policy}", f"--audit-log-path={self._log}"]

    def writes(self) -> list[Write]:
        """Writes since the last call, in the order of their completion, including rejected ones."""
        with self._log.open("rb") as log:
            log.seek(self._read)
            text = log.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return [_write(json.loads(line)) for line in whole.splitlines()]


def by_model(writes: Iterable[Write]) -> Mapping[str, list[Write]]:
    """Writes by the name of their model."""
    found = defaultdict(list)
    for write in writes:
        name = _MODEL.search(json.dumps(write.body)) or _MODEL.search(write.uri)
        if name is not None:
            found[name[0]].append(write)
    return found


def by_resource(writes: Iterable[Write]) -> Counter[str]:
    """Number of writes to each resource."""
    return Counter(write.resource for write in writes)


def _write(event: Any) -> Write:
    about = event["objectRef"]
    method = {"create": "POST", "update": "PUT", "patch": "PATCH"}.get(event["verb"], "DELETE")
    resource = "/".join(part for part in (about["resource"], about.get("subresource")) if part)
    return Write(method, event["requestURI"], event.get("requestObject"), resource)
