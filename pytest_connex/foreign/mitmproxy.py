"""The flows that mitmproxy saves (``mitmdump -w FILE``), read by mitmproxy itself where it is installed.

What is recorded is what the client saw: a message that mitmproxy dropped on the way to it, or made up on the way to
the server, is none of the client's.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ..cassette.events import Closed, Dial, Open, Received, Refused, Rejected, Sent
from ..errors import CassetteError, ConfigError
from .traffic import Exchange, Fields, Lost, Strand, Traffic, epoch, in_order, one_each, websocket_url

if TYPE_CHECKING:
    from mitmproxy.http import HTTPFlow

_NETSTRINGS = re.compile(rb"\d+:\d+:")
_NO_ANSWER = "the capture holds no answer to the handshake"


def looks_like_flows(head: bytes) -> bool:
    """Tell whether a file that begins so is a series of netstrings that hold netstrings."""
    return _NETSTRINGS.match(head) is not None


def flows(file: BinaryIO, path: Path) -> Iterator[HTTPFlow]:
    """Yield the flows of HTTP in a file.

    Raises:
        ConfigError: mitmproxy is not installed.
        CassetteError: mitmproxy cannot read it.
    """
    try:
        from mitmproxy.http import HTTPFlow
        from mitmproxy.io import FlowReader
    except ImportError as exc:
        raise ConfigError(f"{path} holds flows of mitmproxy, which reads them: pip install mitmproxy") from exc
    try:
        for flow in FlowReader(file).stream():
            if isinstance(flow, HTTPFlow):
                yield flow
    except Exception as exc:  # a damaged file makes it raise whatever its decoding comes across
        raise CassetteError(f"mitmproxy cannot read it: {exc}", path) from exc


def read_flows(flows: Iterable[HTTPFlow], path: Path) -> Iterator[Traffic]:
    """Yield what happened: HTTP first, then what happened on WebSockets by its times.

    Raises:
        CassetteError: A flow holds what no client could have seen; with its number.
    """
    strands: list[Strand] = []
    for number, flow in enumerate(flows, start=1):
        try:
            if flow.websocket is not None or flow.request.headers.get("upgrade", "").lower() == "websocket":
                strands.append(_strand(len(strands) + 1, flow))
            elif flow.response is not None:
                yield _exchange(flow)
        except ValueError as exc:
            raise CassetteError(f"flow {number}: {exc}", path) from exc
    yield from in_order(sorted(strands, key=lambda strand: strand.events[0][0]))


def _strand(conn: int, flow: HTTPFlow) -> Strand:
    request, response, strand = flow.request, flow.response, Strand()
    at = epoch(request.timestamp_start)
    offered = [name.strip() for name in request.headers.get("sec-websocket-protocol", "").split(",") if name.strip()]
    strand.add(Dial(conn, at, websocket_url(request.url), offered, one_each(_fields(request))))
    if response is None:
        strand.add(Refused(conn, at, "ConnectionAbortedError", None, _NO_ANSWER))
        return strand
    answered = epoch(response.timestamp_start or at)
    if flow.websocket is None:
        body = (response.get_content(strict=False) or b"").decode("utf-8", "replace")
        strand.add(Rejected(conn, answered, response.status_code, one_each(_fields(response)), body))
        return strand
    subprotocol = response.headers.get("sec-websocket-protocol") or None
    strand.add(Open(conn, answered, subprotocol=subprotocol, headers=one_each(_fields(response))))
    for message in flow.websocket.messages:
        if message.injected if message.from_client else message.dropped:
            continue
        kind = Sent if message.from_client else Received
        content = (message.content.decode(), None) if message.is_text else (None, message.content)
        strand.add(kind(conn, epoch(message.timestamp), *content))
    _end(conn, flow.websocket, strand)
    return strand


def _end(conn: int, websocket: Any, strand: Strand) -> None:
    last = strand.events[-1][0]
    if websocket.closed_by_client is None or websocket.close_code is None:
        strand.add(Lost(conn, epoch(websocket.timestamp_end or last)))
        return
    at = epoch(websocket.timestamp_end or last)
    by = "client" if websocket.closed_by_client else "server"
    if websocket.close_code == 1006:
        strand.add(Closed(conn, at, "client" if websocket.closed_by_client else "network", 1006))
    else:
        strand.add(Closed(conn, at, by, websocket.close_code, websocket.close_reason or ""))  # type: ignore[arg-type]


def _exchange(flow: HTTPFlow) -> Exchange:
    request, response = flow.request, flow.response
    return Exchange(
        at=epoch(request.timestamp_start),
        method=request.method,
        url=request.url,
        request_headers=_fields(request),
        request_body=request.get_content(strict=False) or None,
        status=response.status_code,
        reason=response.reason,
        headers=_fields(response),
        body=response.get_content(strict=False),
    )


def _fields(message: Any) -> Fields:
    return tuple(message.headers.items(multi=True))
