"""Checks over HTTP whether a component is ready."""

import ssl
import urllib.error
import urllib.request
from pathlib import Path


def answers(url: str, pki: Path | None = None) -> bool:
    """Whether `url` returns 200 within two seconds. With `pki`, the request uses the admin's certificate and the CA."""
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
    if pki is not None:
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
        handlers.append(urllib.request.HTTPSHandler(context=context))
    try:
        with urllib.request.build_opener(*handlers).open(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False
