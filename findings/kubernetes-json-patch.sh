#!/usr/bin/env bash
# The Python client sends a JSON Patch of a Deployment as JSON Patch, and the same one of a custom object as merge
# patch.
#
# Guess:     a list of operations is a JSON Patch, so every patch_* method sends it as application/json-patch+json.
# Fact:      patch_namespaced_deployment does; patch_namespaced_custom_object names merge-patch+json for the same list,
#            and a merge patch that is a list cannot be applied to an object. The asynchronous client does the same.
# Versions:  kubernetes 37.0.2, aiohttp 3.14.5
# Output:    (2026-11-28)
#            kubernetes.client  deployments    application/json-patch+json
#            kubernetes.client  kerasmodels    application/merge-patch+json
#            kubernetes.aio     deployments    application/json-patch+json
#            kubernetes.aio     kerasmodels    application/merge-patch+json
# Relevance: scripts that scale, pause or update models patch a custom resource. The call that works for Deployments
#            does not work for a model.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install kubernetes==37.0.2 aiohttp==3.14.5

run - << 'PYTHON'
import asyncio
import json

from kubernetes import client
from kubernetes.aio import client as aio
from recorder import Recorder

patch = [{"op": "replace", "path": "/spec/replicas", "value": 2}]
model = ("example.com", "v1", "default", "kerasmodels", "digits")
server = Recorder({"metadata": {}, "spec": {"selector": {}, "template": {}}})


def synchronous():
    configuration = client.Configuration()
    configuration.host = server.url
    with client.ApiClient(configuration) as connection:
        client.AppsV1Api(connection).patch_namespaced_deployment("digits", "default", patch)
        client.CustomObjectsApi(connection).patch_namespaced_custom_object(*model, patch)


async def asynchronous():
    configuration = aio.Configuration()
    configuration.host = server.url
    async with aio.ApiClient(configuration) as connection:
        await aio.AppsV1Api(connection).patch_namespaced_deployment("digits", "default", patch)
        await aio.CustomObjectsApi(connection).patch_namespaced_custom_object(*model, patch)


for name, send in (("kubernetes.client", synchronous), ("kubernetes.aio", lambda: asyncio.run(asynchronous()))):
    server.requests.clear()
    send()
    assert [json.loads(request.body) for request in server.requests] == [patch, patch]
    for request in server.requests:
        print(f"{name:18} {request.path.split('/')[-2]:14} {request.content_type}")
    types = [request.content_type for request in server.requests]
    assert types == ["application/json-patch+json", "application/merge-patch+json"]
PYTHON
