"""Flows that mitmproxy saves. It is no dependency of this project: ``pip install mitmproxy`` to run these."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from pytest_connex.cassette.events import Closed, Dial, Open, Received, Refused, Rejected, Sent
from pytest_connex.cli import app
from pytest_connex.errors import CassetteError, ConfigError
from pytest_connex.foreign.har import read_har
from pytest_connex.foreign.mitmproxy import flows, looks_like_flows, read_flows
from pytest_connex.foreign.traffic import Exchange, Lost, Traffic

from .replaying import replay

FILE = Path("flows.mitm")
ENDED = {"closed_by_client": True, "close_code": 1000}
CUT_OFF = {"closed_by_client": False, "close_code": 1006}


def test_without_mitmproxy_it_says_what_to_install(monkeypatch):
    for name in ("mitmproxy", "mitmproxy.http", "mitmproxy.io"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError) as caught:
        next(flows(io.BytesIO(b""), FILE))
    assert str(caught.value) == "flows.mitm holds flows of mitmproxy, which reads them: pip install mitmproxy"


@pytest.mark.parametrize(
    ("head", "is_one"),
    [(b"4146:9:websocket;", True), (b"1633998512.06: {}", False), (b'{"log"', False), (b"", False)],
)
def test_the_beginning_tells_the_format(head, is_one):
    assert looks_like_flows(head) is is_one


def stand_in(upgrade: str = "", websocket: object = None, **response: object) -> SimpleNamespace:
    """An object with those members of a flow that are read."""

    def message(headers: dict[str, str], **more: object) -> SimpleNamespace:
        fields = SimpleNamespace(get=headers.get, items=lambda multi: headers.items())
        return SimpleNamespace(headers=fields, timestamp_start=100.0, get_content=lambda strict: b"body", **more)

    request = message({"upgrade": upgrade}, url="https://connex.example/ws", method="GET")
    answer = message({"X-Served-By": "a"}, **response) if response else None
    return SimpleNamespace(request=request, response=answer, websocket=websocket)


def websocket(**ending: object) -> SimpleNamespace:
    said = SimpleNamespace(
        from_client=False, is_text=True, content=b"a", timestamp=101.0, dropped=False, injected=False
    )
    none = {"closed_by_client": None, "close_code": None, "close_reason": None, "timestamp_end": None}
    return SimpleNamespace(messages=[said], **(none | ending))


@pytest.mark.parametrize(
    ("flow", "kinds"),
    [
        (stand_in(), []),
        (stand_in(status_code=200, reason="OK"), [Exchange]),
        (stand_in("websocket"), [Dial, Refused]),
        (stand_in("WebSocket", status_code=429, reason=""), [Dial, Rejected]),
        (stand_in("websocket", websocket(), status_code=101), [Dial, Open, Received, Lost]),
        (stand_in("", websocket(**ENDED), status_code=200), [Dial, Open, Received, Closed]),
        (stand_in("", websocket(**CUT_OFF), status_code=101), [Dial, Open, Received, Closed]),
    ],
)
def test_what_a_flow_is_can_be_told_without_mitmproxy(flow, kinds):
    assert [type(item) for item in read_flows([flow], FILE)] == kinds


class TestWithMitmproxy:
    """What mitmproxy's own classes make, written and read by mitmproxy."""

    @pytest.fixture(autouse=True)
    def _installed(self) -> None:
        pytest.importorskip("mitmproxy.io", reason="mitmproxy is not installed")

    def flow(self, url: str = "https://connex.example/ws", status: int = 101, upgrade: bool = True):
        from mitmproxy import connection, http

        client = connection.Client(peername=("127.0.0.1", 1), sockname=("127.0.0.1", 2), timestamp_start=90.0)
        flow = http.HTTPFlow(client, connection.Server(address=("connex.example", 443)))
        headers = {"Upgrade": "websocket", "Sec-WebSocket-Protocol": "v1, v2"} if upgrade else {"A": "1"}
        flow.request = http.Request.make("GET", url, headers=headers)
        flow.request.timestamp_start = 100.0
        flow.response = http.Response.make(status, b"body", {"X-Served-By": "a"})
        flow.response.timestamp_start = 100.5
        return flow

    def websocket(self, *messages: tuple[bool, int, bytes], **ending: object):
        from mitmproxy.websocket import WebSocketData, WebSocketMessage

        flow = self.flow()
        said = [
            WebSocketMessage(opcode, from_client, content, timestamp=101.0 + index)
            for index, (from_client, opcode, content) in enumerate(messages)
        ]
        flow.websocket = WebSocketData(messages=said, **ending)
        return flow

    def read(self, *made: object) -> list[Traffic]:
        from mitmproxy.io import FlowWriter

        file = io.BytesIO()
        writer = FlowWriter(file)
        for flow in made:
            writer.add(flow)
        file.seek(0)
        return list(read_flows(flows(file, FILE), FILE))

    def test_messages_are_what_they_were(self):
        text = '{"price": 1.10, "é": "\\u00e9"}\r\n'
        flow = self.websocket(
            (True, 1, b"hello"),
            (False, 1, text.encode()),
            (False, 2, b"\x00\xff"),
            closed_by_client=False,
            close_code=1012,
            close_reason="restart",
            timestamp_end=110.0,
        )
        assert looks_like_flows(self.saved(flow))
        traffic = self.read(flow)
        dial, opened, *rest = traffic
        assert (dial.at, dial.url, dial.subprotocols) == (100.0, "wss://connex.example/ws", ["v1", "v2"])
        assert (opened.at, opened.headers["X-Served-By"]) == (100.5, "a")
        assert rest == [
            Sent(1, 101.0, "hello"),
            Received(1, 102.0, text),
            Received(1, 103.0, None, b"\x00\xff"),
            Closed(1, 110.0, "server", 1012, "restart"),
        ]

    def saved(self, flow: object) -> bytes:
        from mitmproxy.io import FlowWriter

        file = io.BytesIO()
        FlowWriter(file).add(flow)
        return file.getvalue()

    @pytest.mark.parametrize(
        ("ending", "closed"),
        [
            ({}, Lost(1, 101.0)),
            ({"closed_by_client": True, "close_code": 1000}, Closed(1, 101.0, "client", 1000)),
            ({"closed_by_client": False, "close_code": 1006}, Closed(1, 101.0, "network", 1006)),
            ({"closed_by_client": True, "close_code": 1006}, Closed(1, 101.0, "client", 1006)),
        ],
    )
    def test_endings_are_what_they_were(self, ending, closed):
        assert self.read(self.websocket((False, 1, b"a"), **ending))[-1] == closed

    def test_what_the_client_did_not_see_or_send_is_left_out(self):
        flow = self.websocket((True, 1, b"sent"), (True, 1, b"injected"), (False, 1, b"dropped"), (False, 1, b"seen"))
        flow.websocket.messages[1].injected = True
        flow.websocket.messages[2].dropped = True
        messages = [item.text for item in self.read(flow) if isinstance(item, Sent | Received)]
        assert messages == ["sent", "seen"]

    def test_handshakes_that_failed_are_rejected_or_refused(self):
        unanswered = self.flow()
        unanswered.response = None
        assert isinstance(self.read(unanswered)[1], Refused)
        rejected = self.read(self.flow(status=429))[1]
        assert (type(rejected), rejected.status, rejected.body) == (Rejected, 429, "body")

    def test_http_comes_first(self):
        first, *rest = self.read(self.websocket(), self.flow("https://connex.example/v1/status", 200, upgrade=False))
        assert (first.url, first.status, first.body, first.request_body) == (
            "https://connex.example/v1/status",
            200,
            b"body",
            None,
        )
        assert isinstance(first, Exchange)
        assert [type(item) for item in rest] == [Dial, Open, Lost]

    def test_text_that_is_none_is_named(self):
        with pytest.raises(CassetteError) as caught:
            self.read(self.flow(status=200, upgrade=False), self.websocket((False, 1, b"\xff")))
        assert str(caught.value).startswith("flows.mitm: flow 2: 'utf-8' codec can't decode byte 0xff")

    async def test_a_file_of_flows_becomes_a_recording_that_replays(self, tmp_path, monkeypatch, capsys):
        flow = self.websocket((True, 1, b"hello"), (False, 2, b"\xff"), closed_by_client=True, close_code=1000)
        (tmp_path / "capture.mitm").write_bytes(self.saved(flow))
        monkeypatch.chdir(tmp_path)
        app(["import", "capture.mitm", "--origin", "wss://connex.example"], standalone_mode=False)
        assert capsys.readouterr().err.startswith("recorded capture.ws.jsonl: 1 connection, 2 messages\n")
        assert await replay(tmp_path / "capture.ws.jsonl") == [("sent", "hello"), ("received", b"\xff")]

    def test_the_har_that_mitmproxy_makes_of_it_holds_the_same(self):
        from mitmproxy.addons.savehar import SaveHar

        flow = self.websocket((True, 1, "é".encode()), (False, 2, b"\xff"))
        har = json.dumps(SaveHar().make_har([flow])).encode()
        assert list(read_har(har, FILE))[2:4] == self.read(flow)[2:4]

    @pytest.mark.parametrize("data", [b"12:nonsense;", b"4:1:a;,", b"9999:cut off"])
    def test_a_damaged_file_is_an_error(self, data):
        with pytest.raises(CassetteError, match="flows.mitm: mitmproxy cannot read it"):
            list(flows(io.BytesIO(data), FILE))
