"""``capture_orderbook`` and ``check_health`` beside the notebook's own functions, on the same server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from websockets.asyncio.server import serve

from pytest_connex import capture_orderbook
from pytest_connex.config import ConnexConfig
from pytest_connex.errors import AuthenticationError, ConfigError

NOTEBOOK = Path(__file__).parents[2].parent / "shared" / "seed" / "connex_exploration_notebook.txt"
BOOK = '{"type": "snapshot", "bids": [["1.10", "2"]], "asks": [["1.2", "1"], ["1.3", "1"]]}'
NESTED = '{"orderbook": {"a": 1}, "n": 1.50, "none": null, "flag": true}'
SCRIPTS = {
    "plain": [['{"event": "subscribed"}', BOOK, '{"event": "heartbeat"}', NESTED, "not JSON", "[1]", "3", BOOK]],
    "book first": [[BOOK, BOOK, BOOK]],
    "closes once": [['{"event": "subscribed"}', BOOK, None], ['{"event": "subscribed"}', BOOK, BOOK]],
    "closes always": [[BOOK, None]],
    "long": [['{"event": "subscribed"}', BOOK[:-1] + ', "pad": "' + "x" * 3000 + '"}', BOOK, BOOK]],
}


def handler(script: list[list[str | None]]):
    """Answers the first message of connection k with the k-th list; None closes with 1012."""
    connections: list[object] = []

    async def answer(ws) -> None:
        connections.append(ws)
        await ws.recv()
        for text in script[min(len(connections), len(script)) - 1]:
            if text is None:
                await ws.close(1012, "restart")
                return
            await ws.send(text)
        await ws.wait_closed()

    return answer


def without_times(result: dict) -> str:
    def cleaned(value):
        if isinstance(value, dict):
            return {key: cleaned(inner) for key, inner in value.items() if key not in ("ts", "received_at")}
        if isinstance(value, list):
            return [cleaned(inner) for inner in value]
        return value

    return json.dumps(cleaned(result), default=float)


def notebook() -> dict:
    source = NOTEBOOK.read_text("utf-8")
    code = source[source.index("from collections import Counter") : source.index("# Example usage inside")]
    namespace: dict = {"logger": __import__("logging").getLogger("notebook")}
    exec(compile(code, "notebook", "exec"), namespace)
    return namespace


@pytest.mark.skipif(not NOTEBOOK.exists(), reason="the research notebook is not beside this repository")
@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS.keys())
@pytest.mark.parametrize("keep", [True, False])
async def test_it_sees_what_the_notebook_sees(script, keep, monkeypatch):
    for name in ("CONNEX_API_KEY", "CONNEX_API_SECRET"):
        monkeypatch.delenv(name, raising=False)
    settings = {"sample_messages": 3, "base_retry_delay": 0.0, "timeout": 5.0, "capture_control_frames": keep}
    async with serve(handler(script), "127.0.0.1", 0) as server:
        url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        monkeypatch.setenv("CONNEX_WS_URL", url)
        expected = await notebook()["test_websocket_connection"](**settings)
    async with serve(handler(script), "127.0.0.1", int(url.rpartition(":")[2].rstrip("/"))):
        result = await capture_orderbook(**settings)

    assert without_times(result.to_dict()) == without_times(expected)


async def test_a_message_that_does_not_come_is_a_time_out_of_the_attempt():
    async with serve(handler([['{"event": "subscribed"}']]), "127.0.0.1", 0) as server:
        config = ConnexConfig(ws_url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
        result = await capture_orderbook(config=config, max_retries=1, timeout=0.02)

    assert result.status == "failed"
    assert [event["event"] for event in result.events][-2:] == ["timeout", "completed"]


async def test_an_answer_that_does_not_come_is_an_event_and_the_run_goes_on():
    async with serve(handler([[]]), "127.0.0.1", 0) as server:
        config = ConnexConfig(
            ws_url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", api_key="key", api_secret="secret"
        )
        result = await capture_orderbook(config=config, max_retries=1, timeout=0.02)

    names = [event["event"] for event in result.events]
    assert names[3:8] == [
        "auth_sent",
        "auth_response_timeout",
        "subscription_sent",
        "subscription_response_timeout",
        "timeout",
    ]


async def test_rejected_credentials_raise_at_once():
    rejected = '{"event": "error", "code": "unknown_key", "message": "who?"}'
    async with serve(handler([[rejected, None]]), "127.0.0.1", 0) as server:
        config = ConnexConfig(
            ws_url=f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/", api_key="key", api_secret="secret"
        )
        with pytest.raises(AuthenticationError, match="unknown_key"):
            await capture_orderbook(config=config)


async def test_nobody_there_is_a_failed_attempt(unused_tcp_port):
    config = ConnexConfig(ws_url=f"ws://127.0.0.1:{unused_tcp_port}/")
    result = await capture_orderbook(config=config, max_retries=2, base_retry_delay=0)

    assert (result.status, result.attempts) == ("failed", 2)
    assert "ConnectionRefusedError" in result.last_error


@pytest.mark.parametrize(
    ("config", "named"),
    [
        (ConnexConfig(), "CONNEX_WS_URL"),
        (ConnexConfig(ws_url="wss://gateway.example", api_key="key"), "CONNEX_API_SECRET"),
    ],
)
async def test_configuration_that_cannot_work_raises(config, named):
    with pytest.raises(RuntimeError, match=named) as caught:
        await capture_orderbook(config=config)
    assert isinstance(caught.value, ConfigError)


async def test_every_argument_that_cannot_be_used_is_named():
    with pytest.raises(ConfigError) as caught:
        await capture_orderbook(
            depth=0, sample_messages=-1, max_retries=2.5, base_retry_delay=-1, timeout=float("nan")
        )
    for name in ("depth", "sample_messages", "max_retries", "base_retry_delay", "timeout"):
        assert f"{name} must be" in str(caught.value)
