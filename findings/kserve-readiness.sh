#!/usr/bin/env bash
# In KServe's Python client, `is_model_ready` answers False at 503 but `is_server_ready` raises, and no retry happens.
#
# Guess:     the two questions behave alike while a server starts: both answer False, or RESTConfig(retries=3) retries.
# Fact:      a 503, the answer of a server that is not ready, is False from is_model_ready and an HTTPStatusError from
#            is_server_ready. `retries` is that of the transport: it repeats connections, never an answer with a status.
# Versions:  kserve 0.21.0, httpx 0.28.1
# Output:    (2026-11-28; RESTConfig(protocol="v2", retries=3))
#            200 is_model_ready   True              1 request
#            200 is_server_ready  True              1 request
#            503 is_model_ready   False             1 request
#            503 is_server_ready  HTTPStatusError   1 request
# Relevance: a client waits for a model server with one of the two. The loop with is_server_ready ends with an exception
#            as long as the server loads its model.
set -euo pipefail
source "$(dirname "$0")/lib.sh"
install kserve==0.21.0 httpx==0.28.1

run - << 'PYTHON'
import asyncio

import httpx
from kserve import InferenceRESTClient, RESTConfig
from recorder import Recorder


async def ask():
    client = InferenceRESTClient(RESTConfig(protocol="v2", retries=3))
    questions = {
        "is_model_ready": lambda server: client.is_model_ready(server.url, "digits"),
        "is_server_ready": lambda server: client.is_server_ready(server.url),
    }
    answers = []
    for status, body in ((200, {"ready": True}), (503, {"error": "the model is loading"})):
        server = Recorder(body, status=status)
        for name, question in questions.items():
            server.requests.clear()
            try:
                answer = await question(server)
            except httpx.HTTPStatusError as error:
                answer = type(error).__name__
            answers.append(answer)
            print(f"{status} {name:16} {answer!s:17} {len(server.requests)} request")
            assert len(server.requests) == 1
    await client.close()
    return answers


assert asyncio.run(ask()) == [True, True, False, "HTTPStatusError"]
PYTHON
