"""An HTTP server on the loopback interface that records requests, in place of an API server, a proxy or a model."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Request:
    """A request that the server received."""

    method: str
    path: str
    content_type: str | None
    body: bytes


class Recorder:
    """Answers every request with `body` as JSON: with the next of `statuses` while there are some, then with `status`.

    Attributes:
        requests: the requests so far, in the order of arrival.
        headers: sent with every answer.
    """

    def __init__(self, body: Any, *, status: int = 200) -> None:
        self.body = body
        self.status = status
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.requests: list[Request] = []
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                recorder.requests.append(Request(self.command, self.path, self.headers.get("Content-Type"), content))
                answer = json.dumps(recorder.body).encode()
                self.send_response(recorder.statuses.pop(0) if recorder.statuses else recorder.status)
                headers = {"Content-Type": "application/json", "Content-Length": str(len(answer)), **recorder.headers}
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(answer)

            do_GET = do_POST = do_PATCH = answer  # noqa: N815 - the names are those of http.server

            def log_message(self, *args: Any) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{server.server_port}"
