#!/usr/bin/env bash
# The two clients of the package kubernetes read the same NO_PROXY differently: only the synchronous one knows CIDRs.
#
# Guess:     kubernetes.client and kubernetes.aio.client are generated from one source and are released together, so a
#            NO_PROXY of 10.96.0.0/12 keeps both off the proxy.
# Fact:      kubernetes.client connects directly. kubernetes.aio and aiohttp (trust_env=True) compare text, do not match
#            the address with the network, and send the request for the API server to the proxy. All three connect
#            directly if NO_PROXY names the address itself.
# Versions:  kubernetes 37.0.2, aiohttp 3.14.5
# Output:    (2026-11-28)
#            NO_PROXY=127.0.0.0/8  kubernetes.client: API server  kubernetes.aio: proxy       aiohttp: proxy
#            NO_PROXY=127.0.0.1    kubernetes.client: API server  kubernetes.aio: API server  aiohttp: API server
# Relevance: clusters behind a company's proxy set its address in every pod, and NO_PROXY with the network of the
#            Services. An operator that changes to the asynchronous client no longer reaches its API server.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install kubernetes==37.0.2 aiohttp==3.14.5

run - << 'PYTHON'
import asyncio
import os

import aiohttp
from kubernetes import client
from kubernetes.aio import client as aio
from recorder import Recorder

empty = {"apiVersion": "v1", "kind": "PodList", "metadata": {}, "items": []}
server, proxy = Recorder(empty), Recorder(empty)


def synchronous():
    configuration = client.Configuration()
    configuration.host = server.url
    with client.ApiClient(configuration) as connection:
        client.CoreV1Api(connection).list_namespaced_pod("default")


async def asynchronous():
    configuration = aio.Configuration()
    configuration.host = server.url
    async with aio.ApiClient(configuration) as connection:
        await aio.CoreV1Api(connection).list_namespaced_pod("default")


async def plain():
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(server.url):
        pass


def receiver(send):
    server.requests.clear()
    proxy.requests.clear()
    send()
    assert len(server.requests) + len(proxy.requests) == 1
    return "API server" if server.requests else "proxy"


os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = proxy.url
found = {}
for addresses in ("127.0.0.0/8", "127.0.0.1"):
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = addresses
    found[addresses] = [
        receiver(synchronous),
        receiver(lambda: asyncio.run(asynchronous())),
        receiver(lambda: asyncio.run(plain())),
    ]
    names = ("kubernetes.client", "kubernetes.aio", "aiohttp")
    columns = [f"{name}: {to:10}" for name, to in zip(names, found[addresses])]
    print("  ".join([f"NO_PROXY={addresses:11}", *columns]).rstrip())
assert found == {"127.0.0.0/8": ["API server", "proxy", "proxy"], "127.0.0.1": ["API server"] * 3}
PYTHON
