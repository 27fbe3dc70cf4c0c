"""The fingerprint of a source: it changes when the file changes, and an error names culprit and remedy."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from keras_api.reasons import Reason
from keras_api.resource import S3Options
from keras_store.errors import StepError
from keras_store.sources.fingerprint import Fingerprint, fingerprint

Serve = Callable[[Callable[[web.Request], Awaitable[web.StreamResponse]]], Awaitable[str]]


def answering(status: int = 200, body: bytes = b"model", **headers: str):
    async def handler(_: web.Request) -> web.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return web.Response(status=status, body=body, headers=named)

    return handler


@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc"'])
async def test_an_etag_is_the_fingerprint(serve: Serve, etag: str):
    url = await serve(answering(ETag=etag))
    assert await fingerprint(f"{url}/m.keras") == Fingerprint("abc", 5)


async def test_without_an_etag_the_fingerprint_is_size_and_time(serve: Serve):
    url = await serve(answering(Last_Modified="Sun, 22 Nov 2026 07:00:00 GMT"))
    assert await fingerprint(f"{url}/m.keras") == Fingerprint("size=5,modified=2026-11-22T07:00:00+00:00", 5)


async def test_a_server_without_head_gets_a_request_for_one_byte(serve: Serve):
    asked = []

    async def only_get(request: web.Request) -> web.Response:
        asked.append((request.method, request.headers.get("Range")))
        if request.method == "HEAD":
            return web.Response(status=405)
        return web.Response(status=206, body=b"m", headers={"ETag": '"abc"', "Content-Range": "bytes 0-0/2048"})

    url = await serve(only_get)
    assert await fingerprint(f"{url}/m.keras") == Fingerprint("abc", 2048)
    assert asked == [("HEAD", None), ("GET", "bytes=0-0")]


async def test_a_signed_address_is_sent_exactly_as_it_was_written(serve: Serve):
    seen = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.raw_path)
        return web.Response(headers={"ETag": '"abc"'})

    url = await serve(note)
    await fingerprint(f"{url}/a%2Fb/m.keras?X-Amz-Signature=a%2Bb%2F%3D&x=~")
    assert seen == ["/a%2Fb/m.keras?X-Amz-Signature=a%2Bb%2F%3D&x=~"]


@pytest.mark.parametrize(
    ("credentials", "header"),
    [
        ({}, None),
        ({"HTTP_BEARER_TOKEN": "secret\n"}, "Bearer secret"),
        ({"HTTP_USERNAME": "jane", "HTTP_PASSWORD": "pass"}, "Basic amFuZTpwYXNz"),
        ({"HTTP_BEARER_TOKEN": " "}, None),
    ],
)
async def test_credentials_are_sent_in_their_usual_form(serve: Serve, credentials: dict[str, str], header: str | None):
    seen = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(headers={"ETag": '"abc"'})

    await fingerprint(f"{await serve(note)}/m.keras", None, credentials)
    assert seen == [header]


async def test_credentials_do_not_follow_a_redirect_to_another_host(serve: Serve):
    seen = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.Response(headers={"ETag": '"abc"'})

    elsewhere = await serve(note)

    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound(f"{elsewhere}/m.keras")

    await fingerprint(f"{await serve(redirect)}/m.keras", None, {"HTTP_BEARER_TOKEN": "secret"})
    assert seen == [None]


@pytest.mark.parametrize(
    ("status", "reason", "says"),
    [
        (401, Reason.SOURCE_ACCESS_DENIED, "secretRef"),
        (403, Reason.SOURCE_ACCESS_DENIED, "secretRef"),
        (404, Reason.SOURCE_NOT_FOUND, "answers 404"),
        (410, Reason.SOURCE_NOT_FOUND, "answers 410"),
        (400, Reason.SOURCE_UNREACHABLE, "answers 400"),
        (429, Reason.SOURCE_UNREACHABLE, "answers 429"),
        (500, Reason.SOURCE_UNREACHABLE, "answers 500"),
        (503, Reason.SOURCE_UNREACHABLE, "answers 503"),
    ],
)
async def test_an_http_status_leads_to_a_reason(serve: Serve, status: int, reason: Reason, says: str):
    url = await serve(answering(status))
    with pytest.raises(StepError, match=says) as caught:
        await fingerprint(f"{url}/m.keras?token=secret")
    assert caught.value.reason is reason
    assert caught.value.message.startswith(f"{url}/m.keras answers")


async def test_an_error_text_of_a_server_is_reported_without_the_query(serve: Serve):
    async def echo(request: web.Request) -> web.Response:
        return web.Response(status=400, text=f"no such file: {request.url} or '{request.path_qs}'")

    url = await serve(echo)
    with pytest.raises(StepError) as caught:
        await fingerprint(f"{url}/m.keras?token=secret")
    assert f"(no such file: {url}/m.keras or '/m.keras')" in caught.value.message
    assert "secret" not in caught.value.message


async def test_a_short_interruption_is_not_reported(serve: Serve):
    statuses = iter([503, 200])

    async def recovering(_: web.Request) -> web.Response:
        return web.Response(status=next(statuses), headers={"ETag": '"abc"'})

    assert (await fingerprint(f"{await serve(recovering)}/m.keras")).value == "abc"


async def test_a_host_that_never_answers_times_out(serve: Serve):
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(2)
        return web.Response()

    url = await serve(silent)
    with pytest.raises(StepError, match=r"no answer") as caught:
        await fingerprint(f"{url}/m.keras", timeout=0.2)
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE


@pytest.mark.parametrize(
    ("uri", "s3"),
    [
        ("http://no-such-host.invalid/m.keras", None),
        ("s3://models/m.keras", S3Options(endpoint="http://no-such-host.invalid")),
    ],
)
async def test_a_host_that_does_not_resolve_is_reported(uri: str, s3: S3Options | None):
    with pytest.raises(StepError, match=r"no-such-host\.invalid.*does not resolve") as caught:
        await fingerprint(uri, s3)
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def test_a_refused_connection_is_reported(closed_port: int):
    with pytest.raises(StepError, match=r"no connection \(Connection refused\)") as caught:
        await fingerprint(f"http://127.0.0.1:{closed_port}/m.keras")
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE


async def test_a_refused_connection_to_an_s3_service_is_reported(closed_port: int):
    with pytest.raises(StepError, match="the connection is refused") as caught:
        await fingerprint("s3://models/m.keras", S3Options(endpoint=f"http://127.0.0.1:{closed_port}"))
    assert caught.value.reason is Reason.SOURCE_UNREACHABLE


async def test_a_server_without_tls_is_reported(serve: Serve):
    url = (await serve(answering())).replace("http://", "https://")
    with pytest.raises(StepError, match="no TLS connection"):
        await fingerprint(f"{url}/m.keras")


async def test_an_s3_service_without_tls_is_reported(serve: Serve):
    url = (await serve(answering())).replace("http://", "https://")
    with pytest.raises(StepError, match="no TLS connection"):
        await fingerprint("s3://models/m.keras", S3Options(endpoint=url))


@pytest.mark.parametrize(
    ("status", "code", "reason", "says"),
    [
        (404, "NoSuchKey", Reason.SOURCE_NOT_FOUND, r"no such object \(NoSuchKey\)"),
        (404, "NoSuchBucket", Reason.SOURCE_NOT_FOUND, "the bucket does not exist"),
        (403, "AccessDenied", Reason.SOURCE_ACCESS_DENIED, r"access denied \(AccessDenied\)"),
        (403, "InvalidAccessKeyId", Reason.SOURCE_ACCESS_DENIED, "does not know the access key"),
        (403, "SignatureDoesNotMatch", Reason.SOURCE_ACCESS_DENIED, "secret access key is wrong"),
        (400, "ExpiredToken", Reason.SOURCE_ACCESS_DENIED, "session token has expired"),
        (301, "PermanentRedirect", Reason.SOURCE_UNREACHABLE, "another region"),
        (400, "AuthorizationHeaderMalformed", Reason.SOURCE_UNREACHABLE, "another region"),
        (503, "SlowDown", Reason.SOURCE_UNREACHABLE, r"the service reports an error \(SlowDown\)"),
        (400, "InvalidRequest", Reason.SOURCE_UNREACHABLE, r"rejects the request \(InvalidRequest\)"),
    ],
)
async def test_an_s3_error_leads_to_a_reason(serve: Serve, status: int, code: str, reason: Reason, says: str):
    async def failing(request: web.Request) -> web.Response:
        body = b"" if request.method == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()
        return web.Response(status=status, body=body)

    url = await serve(failing)
    with pytest.raises(StepError, match=says) as caught:
        await fingerprint("s3://models/m.keras", S3Options(endpoint=url))
    assert caught.value.reason is reason
    assert caught.value.message.startswith(f"s3://models/m.keras at {url}: ")


async def test_an_s3_service_gets_the_keys_of_the_tenant_and_never_those_of_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    seen = []

    async def note(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Authorization", ""), request.headers.get("x-amz-security-token")))
        return web.Response(body=b"model", headers={"ETag": '"abc"', "Last-Modified": "Sun, 22 Nov 2026 07:00:00 GMT"})

    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "SESSION_TOKEN"):
        monkeypatch.setitem(os.environ, f"AWS_{name}", "of-the-operator")
    options = S3Options(endpoint=await serve(note))
    await fingerprint("s3://models/m.keras", options, {"AWS_ACCESS_KEY_ID": "jane", "AWS_SECRET_ACCESS_KEY": "x"})
    await fingerprint("s3://models/m.keras", options, {})
    (signed, token), anonymous = seen
    assert "Credential=jane/" in signed
    assert token is None
    assert anonymous == ("", None)


@pytest.mark.parametrize(
    ("credentials", "lacks"),
    [
        ({"AWS_ACCESS_KEY_ID": "jane"}, "not AWS_SECRET_ACCESS_KEY"),
        ({"AWS_SECRET_ACCESS_KEY": "x"}, "not AWS_ACCESS_KEY_ID"),
    ],
)
async def test_an_error_names_the_key_that_is_absent(credentials: dict[str, str], lacks: str):
    with pytest.raises(StepError, match=lacks) as caught:
        await fingerprint("s3://models/m.keras", None, credentials)
    assert caught.value.reason is Reason.SECRET_NOT_FOUND


async def test_a_claim_has_a_fixed_fingerprint():
    assert await fingerprint("pvc://claim/m.keras") == Fingerprint("pvc", None)
    assert await fingerprint("pvc://claim/m.keras", digest="sha256:0") == Fingerprint("sha256:0", None)


async def test_a_pinned_digest_is_the_fingerprint_and_the_size_comes_from_the_source(serve: Serve):
    url = await serve(answering(ETag='"abc"'))
    assert await fingerprint(f"{url}/m.keras", digest="sha256:0") == Fingerprint("sha256:0", 5)


@pytest.mark.parametrize("status", [401, 404, 500])
async def test_a_pinned_digest_is_the_fingerprint_whatever_the_source_answers(serve: Serve, status: int):
    url = await serve(answering(status))
    assert await fingerprint(f"{url}/m.keras", digest="sha256:0") == Fingerprint("sha256:0", None)


async def test_a_pinned_digest_is_the_fingerprint_without_an_answer():
    assert await fingerprint("http://no-such-host.invalid/m.keras", digest="sha256:0") == Fingerprint("sha256:0", None)


async def test_the_size_of_a_pinned_file_is_requested_with_a_short_timeout(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
):
    async def silent(_: web.Request) -> web.Response:
        await asyncio.sleep(2)
        return web.Response()

    monkeypatch.setattr("keras_store.sources.fingerprint.SIZE_SECONDS", 0.1)
    async with asyncio.timeout(1):
        found = await fingerprint(f"{await serve(silent)}/m.keras", digest="sha256:0")
    assert found == Fingerprint("sha256:0", None)


async def test_a_local_file_has_size_and_time(tmp_path: Path):
    (tmp_path / "m.keras").write_bytes(b"model")
    os.utime(tmp_path / "m.keras", (0, 0))
    found = await fingerprint(f"file://{tmp_path}/m.keras")
    assert found == Fingerprint("size=5,modified=1970-01-01T00:00:00+00:00", 5)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("ftp://host/m.keras", "it must be s3://"),
        ("m.keras", "it must be s3://"),
        ("s3:///m.keras", "it must be s3://"),
        ("file://host/m.keras", "it must be s3://"),
        ("s3://models/../m.keras", r"must not contain \. or \.\."),
        ("https://jane:secret@host/m.keras", "spec.source.secretRef"),
        ("http://host:99999/m.keras", "is not a valid source address"),
    ],
)
async def test_an_invalid_address_is_rejected(uri: str, says: str):
    with pytest.raises(StepError, match=says) as caught:
        await fingerprint(uri)
    assert caught.value.reason is Reason.SPEC_INVALID
    assert "secret@" not in caught.value.message
