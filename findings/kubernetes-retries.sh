#!/usr/bin/env bash
# kubernetes.aio retries nothing unless asked, and with `retries = 3` it still raises at 429, the API server's
# overload.
#
# Guess:     both clients of the package retry a GET that the API server answers with 429 and Retry-After, as
#            kubernetes.client does without any setting.
# Fact:      kubernetes.client retries 429 and 503, after the time in Retry-After. kubernetes.aio raises at the first
#            answer; `configuration.retries = 3` makes it retry 503, without regard to Retry-After, and never 429.
# Versions:  kubernetes 37.0.2, aiohttp 3.14.5, aiohttp-retry 2.9.1, urllib3 2.8.0
# Output:    (2026-11-28; two answers with the status and "Retry-After: 1", then 200)
#            kubernetes.client  default      503: 3 requests, ok     after 2 s or more
#            kubernetes.client  default      429: 3 requests, ok     after 2 s or more
#            kubernetes.aio     default      503: 1 request,  error
#            kubernetes.aio     default      429: 1 request,  error
#            kubernetes.aio     retries = 3  503: 3 requests, ok     after less than 2 s
#            kubernetes.aio     retries = 3  429: 1 request,  error
# Relevance: priority and fairness in the API server answers 429 when many models change at once. An asynchronous
#            operator must retry by itself.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install kubernetes==37.0.2 aiohttp==3.14.5 aiohttp-retry==2.9.1 urllib3==2.8.0

run - << 'PYTHON'
import asyncio
import time

from kubernetes import client
from kubernetes.aio import client as aio
from recorder import Recorder

server = Recorder({"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []})
server.headers = {"Retry-After": "1"}


def synchronous(retries):
    configuration = client.Configuration()
    configuration.host = server.url
    if retries is not None:
        configuration.retries = retries
    with client.ApiClient(configuration) as connection:
        client.CoreV1Api(connection).list_namespaced_pod("default")


async def asynchronous(retries):
    configuration = aio.Configuration()
    configuration.host = server.url
    if retries is not None:
        configuration.retries = retries
    async with aio.ApiClient(configuration) as connection:
        await aio.CoreV1Api(connection).list_namespaced_pod("default")


def result(send, status):
    server.requests.clear()
    server.statuses = [status, status]
    started = time.monotonic()
    try:
        send()
    except (client.ApiException, aio.ApiException) as error:
        assert error.status == status
        return len(server.requests), "error", ""
    waited = "after 2 s or more" if time.monotonic() - started >= 2 else "after less than 2 s"
    return len(server.requests), "ok", waited


expected = {
    ("kubernetes.client", None, 503): (3, "ok", "after 2 s or more"),
    ("kubernetes.client", None, 429): (3, "ok", "after 2 s or more"),
    ("kubernetes.aio", None, 503): (1, "error", ""),
    ("kubernetes.aio", None, 429): (1, "error", ""),
    ("kubernetes.aio", 3, 503): (3, "ok", "after less than 2 s"),
    ("kubernetes.aio", 3, 429): (1, "error", ""),
}
for (name, retries, status), right in expected.items():
    send = synchronous if name == "kubernetes.client" else lambda count: asyncio.run(asynchronous(count))
    requests, outcome, waited = found = result(lambda: send(retries), status)
    setting = "default" if retries is None else f"retries = {retries}"
    number = f"{requests} request{'s' * (requests > 1)},"
    print(f"{name:18} {setting:12} {status}: {number:11} {outcome:6} {waited}".rstrip())
    assert found == right
PYTHON
