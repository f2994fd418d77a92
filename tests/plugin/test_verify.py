"""``--connex-verify``: twenty ways in which a gateway may change, each reported and nothing else; or none at all."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_connex.sandbox.exchange import Exchange, RestAnswer, Send, Session

from .conftest import Project

TESTS = """
import json

SUBSCRIBE = '{"action": "subscribe", "channel": "orderbook", "symbol": "ETH/USDT", "depth": 5}'

async def test_book(connex_config, connex_connect):
    async with connex_connect(connex_config.ws_url) as ws:
        await ws.send(SUBSCRIBE)
        for _ in range(12):
            await ws.recv()
        await ws.send('{"action": "ping", "id": 7}')
        while '"pong"' not in await ws.recv():
            pass

def test_rest(connex_rest):
    for path in ("/v1/status", "/v1/symbols", "/v1/orderbook/binance/ETHUSDT?depth=5"):
        connex_rest.get(path)
"""

SCHEMAS = Path(__file__).parents[2] / "cassettes" / "schemas"

Change = tuple[str, str, str]
UPDATE, SNAPSHOT = "orderbook.update", "orderbook.snapshot"


class Drift:
    """Changes what the sandbox says from now on.

    Args:
        patch: Undoes it after the test.
    """

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch

    def frames(self, change: Callable[[dict[str, Any]], None], kind: str = "update") -> None:
        """Let ``change`` alter every message of a kind."""

        def changed(messages: list[Any]) -> list[Any]:
            made = []
            for message in messages:
                if isinstance(message, Send):
                    payload = json.loads(message.text)
                    if kind in (payload.get("type"), payload.get("event")):
                        change(payload)
                        message = Send(json.dumps(payload))
                made.append(message)
            return made

        self.lists(changed)

    def lists(self, change: Callable[[list[Any]], list[Any]]) -> None:
        """Let ``change`` alter what is said at a time."""
        receive, tick = Session.receive, Session.tick
        self._patch.setattr(Session, "receive", lambda self, *args: change(receive(self, *args)))
        self._patch.setattr(Session, "tick", lambda self, *args: change(tick(self, *args)))

    def rest(self, change: Callable[[RestAnswer], RestAnswer], path: str) -> None:
        """Let ``change`` alter the answer to a path."""
        rest = Exchange.rest

        def changed(self: Exchange, method: str, asked: str, *args: Any) -> RestAnswer:
            answer = rest(self, method, asked, *args)
            return change(answer) if asked.startswith(path) else answer

        self._patch.setattr(Exchange, "rest", changed)


def body(change: Callable[[dict[str, Any]], None]) -> Callable[[RestAnswer], RestAnswer]:
    def changed(answer: RestAnswer) -> RestAnswer:
        payload = json.loads(answer.body)
        change(payload)
        return answer._replace(body=json.dumps(payload))

    return changed


def renamed(payload: dict[str, Any], old: str, new: str) -> None:
    payload[new] = payload.pop(old)


def nested(payload: dict[str, Any]) -> None:
    payload["book"] = {"bids": payload["bids"], "asks": payload["asks"]}
    payload["bids"] = []


def each(payload: dict[str, Any], place: int, change: Callable[[Any], Any]) -> None:
    for side in ("bids", "asks"):
        for level in payload[side]:
            level[place] = change(level[place])


def as_objects(payload: dict[str, Any]) -> None:
    for side in ("bids", "asks"):
        payload[side] = [{"price": price, "quantity": quantity} for price, quantity in payload[side]]


def snapshot_first(messages: list[Any]) -> list[Any]:
    texts = [message.text for message in messages if isinstance(message, Send)]
    if any('"subscribed"' in text for text in texts) and any('"snapshot"' in text for text in texts):
        return messages[::-1]
    return messages


def without(kind: str) -> Callable[[list[Any]], list[Any]]:
    return lambda messages: [message for message in messages if f'"{kind}"' not in getattr(message, "text", "")]


def news(messages: list[Any]) -> list[Any]:
    texts = [message.text for message in messages if isinstance(message, Send)]
    return (
        [*messages, Send('{"event": "maintenance", "at": 1}')]
        if any("subscribed" in text for text in texts)
        else messages
    )


DRIFTS: dict[str, tuple[Callable[[Drift], None], set[Change], bool]] = {
    "renamed": (
        lambda drift: drift.frames(lambda frame: renamed(frame, "sequence", "seq")),
        {(UPDATE, "sequence", "gone"), (UPDATE, "seq", "added")},
        True,
    ),
    "removed": (
        lambda drift: drift.frames(lambda frame: frame.pop("exchange")),
        {(UPDATE, "exchange", "gone")},
        True,
    ),
    "added": (
        lambda drift: drift.frames(lambda frame: frame.update(venue="spot")),
        {(UPDATE, "venue", "added")},
        False,
    ),
    "number for a string": (
        lambda drift: drift.frames(lambda frame: each(frame, 0, float), "snapshot"),
        {(SNAPSHOT, "bids[][0]", "type"), (SNAPSHOT, "asks[][0]", "type")},
        True,
    ),
    "string for a number": (
        lambda drift: drift.frames(lambda frame: frame.update(timestamp=str(frame["timestamp"]))),
        {(UPDATE, "timestamp", "type")},
        True,
    ),
    "null": (
        lambda drift: drift.frames(lambda frame: frame.update(timestamp=None)),
        {(UPDATE, "timestamp", "nullable")},
        True,
    ),
    "out of an enumeration": (
        lambda drift: drift.rest(body(lambda status: status.update(status="fine")), "/v1/status"),
        {("rest.v1.status", "status", "enumeration")},
        True,
    ),
    "more decimals": (
        lambda drift: drift.frames(lambda frame: each(frame, 0, lambda price: price + "1"), "snapshot"),
        {(SNAPSHOT, "bids[][0]", "precision"), (SNAPSHOT, "asks[][0]", "precision")},
        True,
    ),
    "exponents": (
        lambda drift: drift.frames(lambda frame: each(frame, 1, lambda text: text + "e0"), "snapshot"),
        {(SNAPSHOT, "bids[][1]", "format"), (SNAPSHOT, "asks[][1]", "format")},
        True,
    ),
    "negative": (
        lambda drift: drift.frames(lambda frame: each(frame, 1, lambda text: "-" + text), "snapshot"),
        {(SNAPSHOT, "bids[][1]", "sign"), (SNAPSHOT, "asks[][1]", "sign")},
        True,
    ),
    "a third value in each level": (
        lambda drift: drift.frames(
            lambda frame: [level.append("1") for side in ("bids", "asks") for level in frame[side]], "snapshot"
        ),
        {(SNAPSHOT, "bids[]", "length"), (SNAPSHOT, "asks[]", "length")},
        True,
    ),
    "levels as objects": (
        lambda drift: drift.frames(as_objects, "snapshot"),
        {(SNAPSHOT, "bids[]", "type"), (SNAPSHOT, "asks[]", "type")},
        True,
    ),
    "nested": (
        lambda drift: drift.frames(lambda frame: (nested(frame), frame.pop("asks")), "snapshot"),
        {(SNAPSHOT, "book", "added"), (SNAPSHOT, "asks", "gone")},
        True,
    ),
    "another order": (
        lambda drift: drift.lists(snapshot_first),
        {("after subscribe", "", "order")},
        True,
    ),
    "no answer any more": (
        lambda drift: drift.lists(without("subscribed")),
        {("after subscribe", "", "order")},
        True,
    ),
    "another class": (
        lambda drift: drift.lists(news),
        {("maintenance", "", "class")},
        False,
    ),
    "another status": (
        lambda drift: drift.rest(lambda answer: answer._replace(status=206), "/v1/symbols"),
        {("GET /v1/symbols", "", "status")},
        True,
    ),
    "a header less": (
        lambda drift: drift.rest(
            lambda answer: answer._replace(
                headers={name: value for name, value in answer.headers.items() if name != "X-RateLimit-Limit"}
            ),
            "/v1/symbols",
        ),
        {("GET /v1/symbols", "x-ratelimit-limit", "header")},
        True,
    ),
    "a number for a string in REST": (
        lambda drift: drift.rest(body(lambda book: book["bids"][0].update(price=2497.9)), "/v1/orderbook"),
        {("rest.v1.orderbook", "bids[].price", "type")},
        True,
    ),
    "a symbol without its slash": (
        lambda drift: drift.frames(lambda frame: frame.update(symbol=frame["symbol"].replace("/", ""))),
        {(UPDATE, "symbol", "format")},
        True,
    ),
    "a member of an answer in another type": (
        lambda drift: drift.frames(lambda frame: frame.update(depth=str(frame["depth"])), "subscribed"),
        {("subscribed", "depth", "type")},
        True,
    ),
}


@pytest.fixture
def verified(project: Project) -> Project:
    """A project with recordings of the sandbox, and with pinned schemas, one of them edited by hand."""
    project.ini("connex_sandbox_interval = 0.005")
    project.test_recorded(TESTS)
    folder = project.path / "cassettes" / "schemas"
    shutil.copytree(SCHEMAS, folder)
    status = folder / "rest.v1.status.schema.json"
    schema = json.loads(status.read_text())
    schema["properties"]["status"]["enum"] = ["healthy", "degraded", "down"]
    status.write_text(json.dumps(schema, indent=2))
    return project


def verify(project: Project, *args: str) -> tuple[pytest.RunResult, dict[str, Any]]:
    result = project.run("--connex-sandbox", "--connex-verify", "--connex-verify-report=drift.json", *args)
    return result, json.loads((project.path / "drift.json").read_text())


@pytest.mark.parametrize("name", DRIFTS)
def test_a_drift_is_reported_and_nothing_else(verified, monkeypatch, name):
    cause, expected, breaking = DRIFTS[name]
    before = {path: path.read_bytes() for path in (verified.path / "cassettes").rglob("*") if path.is_file()}
    cause(Drift(monkeypatch))
    result, report = verify(verified)
    found = {(change["message"], change["path"], change["kind"]) for change in report["changes"]}
    assert found == expected
    assert any(change["breaking"] for change in report["changes"]) == breaking
    assert result.ret == (1 if breaking else 0)
    for _, path, kind in expected:
        result.stdout.fnmatch_lines([f"*{path.replace('[', '[[]')}*{kind}*"])
    after = {path: path.read_bytes() for path in (verified.path / "cassettes").rglob("*") if path.is_file()}
    assert after == before


def test_an_unchanged_gateway_is_no_drift_whatever_its_market_does(verified):
    for seed in range(4):
        result, report = verify(verified, f"--connex-sandbox-seed={seed}")
        result.assert_outcomes(passed=2)
        assert report == {"mode": "sandbox", "compared": 2, "left_out": 0, "changes": []}


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--connex-verify",), "--connex-verify needs something to verify: add --connex-live or --connex-sandbox"),
        (("--connex-sandbox", "--connex-verify", "--connex-record"), "exclude each other: verify first, then record"),
        (("--connex-sandbox", "--connex-verify-report=x.json"), "--connex-verify-report needs --connex-verify"),
        (
            ("--connex-sandbox", "--connex-verify", "--connex-verify-report=nowhere/x.json"),
            "--connex-verify-report=nowhere/x.json: name a file in a folder that exists",
        ),
        (("--connex-sandbox", "--connex-verify", "--connex-verify-report=."), "name a file in a folder that exists"),
    ],
)
def test_what_cannot_be_verified_is_refused(project, args, said):
    project.test("def test_it(): pass")
    result = project.run(*args)
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"*{said}*"])


def test_a_test_that_fails_by_the_drift_still_tells_what_it_is(verified, monkeypatch):
    verified.test(
        """
        import json
        async def test_pong(connex_config, connex_connect):
            async with connex_connect(connex_config.ws_url) as ws:
                await ws.send('{"action": "ping", "id": 7}')
                assert json.loads(await ws.recv())["id"] == 7
        """
    )
    verified.record()
    Drift(monkeypatch).frames(lambda frame: renamed(frame, "id", "reference"), "pong")
    result, report = verify(verified)
    found = {(change["message"], change["path"], change["kind"]) for change in report["changes"]}
    assert found == {("pong", "id", "gone"), ("pong", "reference", "added")}
    result.assert_outcomes(failed=1, errors=1)
    result.stdout.fnmatch_lines(["E * KeyError: 'id'", "*CassetteDrift*"])


def test_a_test_without_a_recording_runs_and_is_counted(verified):
    verified.pytester.makepyfile(test_more="def test_new(connex_rest):\n    connex_rest.get('/v1/status')")
    result, report = verify(verified)
    result.assert_outcomes(passed=3)
    assert (report["compared"], report["left_out"]) == (2, 1)
    result.stdout.fnmatch_lines(["2 tests compared, 1 have no recording to compare with; 0 breaking*"])


def test_two_workers_make_one_report(verified):
    pytest.importorskip("xdist")
    result = verified.run_distributed(
        "--connex-sandbox", "--connex-verify", "--connex-verify-report=drift.json", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=2)
    assert json.loads((verified.path / "drift.json").read_text())["compared"] == 2


def test_a_pinned_schema_that_cannot_be_read_is_an_error_with_its_file(verified):
    (verified.path / "cassettes" / "schemas" / "pong.schema.json").write_text("nonsense")
    result, _ = verify(verified)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*pong.schema.json*not JSON*"])


def test_an_interrupted_run_leaves_nothing_aside(verified, monkeypatch):
    folder = verified.path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    source = verified.path / "test_it.py"
    source.write_text(source.read_text().replace("    for path in", "    raise KeyboardInterrupt\n    for path in"))
    result = verified.run_apart("--connex-sandbox", "--connex-verify", "-k", "test_rest")
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert [path for path in folder.iterdir() if path.name.startswith("connex-verify-")] == []


def test_a_report_that_cannot_be_written_fails_the_run_and_says_so(verified):
    (verified.path / "conftest.py").write_text(
        "import pathlib\ndef pytest_collection_finish(): pathlib.Path('drift.json').mkdir()"
    )
    result = verified.run("--connex-sandbox", "--connex-verify", "--connex-verify-report=drift.json")
    assert result.ret == pytest.ExitCode.INTERNAL_ERROR
    result.stdout.fnmatch_lines(["*drift.json cannot be written: Is a directory", "2 tests compared; 0 breaking*"])
