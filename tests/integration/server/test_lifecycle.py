"""The server process from start to end: not ready before warm-up, honest about failures, no request lost."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

Start = Callable[..., Any]
INFER = "/v2/models/{}/infer"
SECOND = 500_000


def steps(count: int) -> dict[str, Any]:
    return {"inputs": [{"name": "steps", "shape": [1], "datatype": "INT64", "data": [count]}]}


async def in_flight(session: aiohttp.ClientSession, base: str, requests: int) -> None:
    """Wait until the server says that so many requests are in flight."""
    async with asyncio.timeout(30):
        while f"keras_server_in_flight {requests}.0" not in await (await session.get(base + "/metrics")).text():
            pass


def test_it_is_live_at_once_but_ready_only_after_warm_up(start: Start) -> None:
    server = start("sleepyhead").listening()

    assert server.get("/v2/health/live").status == 200
    while "the server is starting" in (early := server.get("/v2/health/ready")).json.get("error", ""):
        assert early.status == 503
    assert early.status == 503
    assert early.json == {"error": "loading: the model is being loaded and warmed up"}
    assert early.headers["Retry-After"] == "1"
    refused = server.post(INFER.format("sleepyhead"), steps(1))
    assert (refused.status, refused.json) == (503, early.json)
    assert server.get("/v1/models/sleepyhead").json["model_version_status"][0]["state"] == "LOADING"
    assert server.get("/v2/models/sleepyhead").json["inputs"][0]["name"] == "steps"

    server.ready()
    assert server.get("/v2/health/ready").json == {"ready": True}
    assert server.get("/v2/models/sleepyhead/ready").status == 200
    assert server.post(INFER.format("sleepyhead"), steps(1)).status == 200


def test_the_readiness_probe_waits_as_long_as_requested(start: Start) -> None:
    server = start("sleepyhead").listening()

    assert server.get("/v2/health/ready").status == 503
    begin = time.perf_counter()
    assert server.get("/v2/health/ready?wait=0.2").status == 503
    assert time.perf_counter() - begin > 0.2
    assert server.get("/v2/health/ready?wait=30").json == {"ready": True}


@pytest.mark.parametrize("wait", ["-1", "61", "nan", "soon", ""])
def test_an_invalid_wait_is_rejected(start: Start, wait: str) -> None:
    answer = start("sleepyhead").listening().get(f"/v2/health/ready?wait={wait}")

    assert (answer.status, answer.json) == (
        400,
        {"error": f"wait={wait!r} in the URL must be a number of seconds, 0 to 60"},
    )


def test_a_readiness_probe_that_waits_is_answered_when_the_warm_up_fails(start: Start) -> None:
    server = start("liar").listening()
    answer = server.get("/v2/health/ready?wait=30")

    assert answer.status == 503
    assert "warm-up failed" in answer.json["error"]


def test_a_model_that_does_not_answer_as_keras_did_is_never_ready_and_reports_the_reason(start: Start) -> None:
    server = start("liar").listening()
    server.wait_for("never ready")

    answer = server.get("/v2/health/ready")
    assert answer.status == 503
    assert "output 'scores' differs from the golden answer by up to" in answer.json["error"]
    assert server.post(INFER.format("liar"), {}).status == 503
    assert server.get("/v2/health/live").status == 200
    assert "keras_server_ready 0.0" in server.get("/metrics").body.decode()
    server.process.send_signal(signal.SIGTERM)
    assert server.exit_status() == 0


@pytest.mark.parametrize(
    ("break_it", "complaint"),
    [
        (lambda path: shutil.rmtree(path), "is not a bundle folder: cannot read its manifest.json"),
        (lambda path: (path / "manifest.json").write_text("{}"), "manifest.json is not valid"),
        (lambda path: (path / "model.onnx").unlink(), "has no model.onnx"),
        (lambda path: (path / "model.onnx").write_bytes(b"short"), "model.onnx in"),
        (
            lambda path: (path / "model.onnx").write_bytes(b"?" * (path / "model.onnx").stat().st_size),
            "ONNX Runtime cannot open the model",
        ),
        (
            lambda path: (path / "golden.npz").write_bytes(b"?" * (path / "golden.npz").stat().st_size),
            "cannot read golden.npz",
        ),
    ],
    ids=["no folder", "bad manifest", "no file", "short file", "not an ONNX file", "bad golden file"],
)
def test_a_broken_bundle_ends_the_process_with_one_line(
    start: Start, bundles: dict[str, Path], tmp_path: Path, break_it: Callable[[Path], Any], complaint: str
) -> None:
    bundle = tmp_path / "broken"
    shutil.copytree(bundles["classifier"], bundle)
    break_it(bundle)

    server = start(bundle)

    assert server.exit_status() == 1
    server.wait_for("end")
    record = server.log[-2]
    assert record["level"] == "error"
    assert complaint in record["message"]
    assert "exception" not in record


def test_a_port_in_use_ends_the_process_with_one_line(start: Start) -> None:
    first = start("classifier").listening()

    second = start("classifier", "--port", str(first.port))

    assert second.exit_status() == 1
    complaint = f"cannot listen on 127.0.0.1, port {first.port}: Address already in use"
    assert second.wait_for("cannot listen")["message"] == complaint


async def test_sigterm_under_load_loses_no_request(start: Start) -> None:
    server = start("classifier", "--drain-delay", "1").listening().ready()
    base = f"http://127.0.0.1:{server.port}"
    body = {"inputs": [{"name": "pixels", "shape": [1, 4], "datatype": "FP32", "data": [1, 2, 3, 4]}]}
    unlisted = asyncio.Event()
    answers: list[int] = []

    async def client(session: aiohttp.ClientSession) -> None:
        requests_until_endpoints_propagate = 20
        while not unlisted.is_set() or (requests_until_endpoints_propagate := requests_until_endpoints_propagate - 1):
            async with session.post(base + INFER.format("classifier"), json=body) as response:
                await response.read()
                answers.append(response.status)

    async with asyncio.timeout(60), aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
        for _ in range(8):
            tasks.create_task(client(session))
        while (ready := await session.get(base + "/v2/health/ready")).status == 200:
            if len(answers) >= 100:
                server.process.send_signal(signal.SIGTERM)
                await asyncio.to_thread(server.wait_for, "draining")
        assert await ready.json() == {"error": "draining: the server is about to stop"}
        unlisted.set()

    assert set(answers) == {200}
    assert len(answers) > 100
    assert server.exit_status() == 0
    assert server.wait_for("stopped")["unanswered"] == 0


async def test_requests_in_flight_are_answered_after_the_port_closed(start: Start) -> None:
    server = start("counter").listening().ready()
    base = f"http://127.0.0.1:{server.port}"
    async with aiohttp.ClientSession() as session:
        slow = asyncio.create_task(session.post(base + INFER.format("counter"), json=steps(SECOND)))
        await in_flight(session, base, 1)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for, "draining")

        response = await slow
        assert response.status == 200
        assert (await response.json())["outputs"][0]["data"] == [SECOND]
    assert server.exit_status() == 0


async def test_a_drain_has_a_timeout(start: Start) -> None:
    server = start("counter", "--drain-timeout", "0.2").listening().ready()
    base = f"http://127.0.0.1:{server.port}"
    async with aiohttp.ClientSession() as session:
        endless = asyncio.create_task(session.post(base + INFER.format("counter"), json=steps(1000 * SECOND)))
        await in_flight(session, base, 1)
        server.process.send_signal(signal.SIGTERM)
        with pytest.raises(aiohttp.ClientError):
            await endless
    assert server.exit_status() == 1


def test_a_server_that_drains_still_answers_but_sends_clients_elsewhere(start: Start) -> None:
    server = start("counter", "--drain-delay", "600").listening().ready()
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("draining")

    answer = server.post(INFER.format("counter"), steps(1))

    assert (answer.status, answer.headers["Connection"]) == (200, "close")
    assert server.get("/v2/health/ready").status == 503
    assert server.get("/v2/health/live").status == 200


def test_a_second_sigterm_ends_the_process_at_once(start: Start) -> None:
    server = start("classifier", "--drain-delay", "600").listening().ready()
    server.process.send_signal(signal.SIGTERM)
    server.wait_for("draining")
    server.process.send_signal(signal.SIGTERM)

    assert server.exit_status() == 143
    server.wait_for("second signal to stop")


def test_sigterm_while_loading_ends_the_process(start: Start) -> None:
    server = start("sleepyhead").listening()
    server.process.send_signal(signal.SIGTERM)

    assert server.exit_status() == 0


def test_requests_beyond_the_limits_are_rejected(start: Start) -> None:
    limits = ("--max-rows", "2", "--max-body-bytes", "1000")
    server = start("classifier", *limits).listening().ready()
    predict = "/v1/models/classifier:predict"

    many = server.post(predict, {"instances": [[1, 2, 3, 4]] * 3})
    assert many.status == 400
    assert "3 rows in one request; the server takes 1 to 2" in many.json["error"]
    large = server.post(predict, {"instances": [[1, 2, 3, 4]] * 300})
    assert large.status == 413
    assert "exceeds 1000 bytes" in large.json["error"]


def test_a_body_must_arrive_in_time(start: Start) -> None:
    server = start("classifier", "--body-timeout", "0.2").listening().ready()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(b"POST /v1/models/classifier:predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{")
        answer = connection.recv(4096)

    assert answer.startswith(b"HTTP/1.1 408 ")
    assert server.get("/v2/health/ready").status == 200


def test_requests_beyond_the_maximum_are_to_be_retried(start: Start) -> None:
    server = start("counter", "--max-in-flight", "1").listening().ready()

    async def race() -> list[tuple[int, str | None]]:
        async with aiohttp.ClientSession() as session:

            async def ask() -> tuple[int, str | None]:
                url = f"http://127.0.0.1:{server.port}{INFER.format('counter')}"
                async with session.post(url, data=json.dumps(steps(SECOND))) as response:
                    return response.status, response.headers.get("Retry-After")

            return await asyncio.gather(*(ask() for _ in range(3)))

    assert sorted(asyncio.run(race())) == [(200, None), (429, "1"), (429, "1")]
    assert "keras_server_requests_rejected_total 2.0" in server.get("/metrics").body.decode()


def test_a_client_that_goes_away_leaves_the_queue(start: Start) -> None:
    server = start("counter", "--workers", "1").listening().ready()

    async def give_up() -> None:
        base = f"http://127.0.0.1:{server.port}"
        async with aiohttp.ClientSession() as session:
            impatient = [
                asyncio.create_task(session.post(base + INFER.format("counter"), json=steps(SECOND))) for _ in range(20)
            ]
            await in_flight(session, base, 20)
            for task in impatient:
                task.cancel()
            await asyncio.gather(*impatient, return_exceptions=True)

    asyncio.run(give_up())
    answer = server.post(INFER.format("counter"), steps(1))
    assert answer.status == 200
    # The warm-up's do not count; of the twenty, only those ran that a worker had already taken up.
    metrics = server.get("/metrics").body.decode()
    ran = next(line for line in metrics.splitlines() if line.startswith("keras_server_batch_rows_count"))
    assert float(ran.split()[1]) <= 4
    assert 'keras_server_requests_total{code="499",protocol="oip"} 20.0' in metrics
