"""HTTP servers on loopback that serve model files, and inject faults."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self


class _Server:
    """Serves from a separate thread while its context lasts."""

    _server: ThreadingHTTPServer

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


class FaultSource(_Server):
    """Serves one model file; a test can change the content, the status and the token that a request must have."""

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


SHORT = 1000
LARGE = 10 << 40


class PathFaultSource(_Server):
    """Injects a fault that depends on the path.

    `/status/CODE/...` returns that status; `/loop/...` redirects to itself; `/silent/...` never answers; `/short/...`
    sends less than its Content-Length; `/large/...` has a Content-Length of 10 TiB; `/replaced/...` is another file
    after the first request; `/file/...` has no fault. With a certificate the server uses TLS.
    """

    def __init__(self, certificate: Path | None = None, key: Path | None = None) -> None:
        self._closed = threading.Event()
        requests: Counter[str] = Counter()
        closed = self._closed

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                fault = self.path.split("/")[1]
                requests[self.path] += 1
                headers = {"ETag": '"first"', "Content-Length": str(SHORT)}
                status = 200
                match fault:
                    case "status":
                        status = int(self.path.split("/")[2])
                        headers = {"Content-Length": "0"}
                    case "loop":
                        status, headers = 301, {"Location": self.path, "Content-Length": "0"}
                    case "silent":
                        closed.wait()
                        self.close_connection = True
                        return
                    case "large":
                        headers["Content-Length"] = str(LARGE)
                    case "replaced" if requests[self.path] > 1:
                        headers["ETag"] = '"second"'
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def do_GET(self) -> None:
                self.do_HEAD()
                fault = self.path.split("/")[1]
                if fault in ("file", "replaced"):
                    self.wfile.write(bytes(SHORT))
                elif fault == "short":
                    self.wfile.write(bytes(SHORT // 2))
                self.close_connection = True

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            # The handshake is done in the thread of the connection: a client that hangs in it does not block others.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
            self._scheme = "https"

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed.set()
        super().__exit__(kind, error, trace)
