"""An HTTP server on loopback that offers one model file, whose content and manners a test can change."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self


class Source:
    def __init__(self) -> None:
        self.content = b"a model"
        self.status = 200
        self.token = ""
        self.requests = 0
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                owner.requests += 1
                status = owner.status
                if owner.token and self.headers.get("Authorization") != f"Bearer {owner.token}":
                    status = 401
                self.send_response(status)
                if status == 200:
                    self.send_header("ETag", f'"{hashlib.sha256(owner.content).hexdigest()[:16]}"')
                    self.send_header("Content-Length", str(len(owner.content)))
                else:
                    self.send_header("Content-Length", "0")
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()
                if owner.status == 200:
                    self.wfile.write(owner.content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/digits.keras"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
