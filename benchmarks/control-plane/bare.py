"""The baseline: the operator's writes, sent by a bare asyncio script with the operator's client and no decisions.

    KUBECONFIG=... python bare.py WRITES CONCURRENCY

WRITES is a JSON file that contains, for each model, the KerasModel to create and the writes that the operator sent for
it. The script prints ``ready``, starts when it reads a line, and prints ``done``.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from kubernetes.aio import client, config

# Placeholder for the model's uid, which is known after its creation.
UID = "00000000-0000-0000-0000-000000000000"


async def main(scripts: list[list[tuple[str, str, str, str]]], concurrency: int) -> None:
    """Send every write once."""
    models = iter(scripts)
    settings = client.Configuration()
    await config.load_kube_config(config_file=os.environ["KUBECONFIG"], client_configuration=settings)
    # The operator's settings: see keras_operator.kube.client.connect.
    settings.client_session_kwargs = {"trust_env": False}
    settings.connection_pool_maxsize = concurrency
    async with client.ApiClient(settings) as connection:

        async def work() -> None:
            for create, *writes in models:
                uid = (await send(connection, create, ""))["metadata"]["uid"]
                for write in writes:
                    await send(connection, write, uid)

        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await asyncio.gather(*(work() for _ in range(concurrency)))
        print("done", flush=True)


async def send(connection: client.ApiClient, write: tuple[str, str, str, str], uid: str) -> Any:
    """Send one request."""
    method, uri, content, body = write
    path, _, query = uri.partition("?")
    call = await connection.param_serialize(
        method,
        path,
        query_params=[tuple(each.split("=", 1)) for each in query.split("&") if each],
        header_params={"Content-Type": content, "Accept": "application/json"},
        body=json.loads(body.replace(UID, uid)),
        auth_settings=["BearerToken"],
    )
    response = await connection.call_api(*call, _request_timeout=60)
    data = await response.read()
    if response.status >= 300:
        raise RuntimeError(f"{method} {uri}: {response.status} {data[:300]!r}")
    return json.loads(data)


if __name__ == "__main__":
    asyncio.run(main(json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])))
