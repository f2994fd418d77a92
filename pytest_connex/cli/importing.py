"""What ``connex import`` does: it reads a capture and writes a recording."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import BinaryIO

import typer

from ..cassette.events import FORMAT, VERSION, Header
from ..cassette.exchange import HttpRequest
from ..cassette.http_recorder import HttpRecorder
from ..cassette.recorder import Recorder
from ..cassette.stamps import TapeClock
from ..cassette.writing import CassetteWriter, Writer, put_in_place
from ..config import (
    API_KEY,
    API_SECRET,
    RECORDED_REST_URL,
    RECORDED_WS_URL,
    REST_URL,
    ConnexConfig,
    canonical_url,
    origin,
)
from ..errors import CassetteError
from ..foreign.formats import Format
from ..foreign.har import looks_like_har, read_har
from ..foreign.lines import looks_like_lines, read_lines
from ..foreign.mitmproxy import flows, looks_like_flows, read_flows
from ..foreign.traffic import Exchange, Traffic
from ..foreign.transcription import Transcription
from ..upstreams import REST
from .recording import SUFFIXES, beside, counted, facts, redactor_of

_HEAD = 4096
"""So many bytes tell the format."""

_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""What a capture says of a body that it does not hold: it holds the one that was unpacked."""


class Import:
    """One import, from the first event to the files in their places."""

    def __init__(self, config: ConnexConfig, stem: Path) -> None:
        self._config = config
        self._redactor = redactor_of(config)
        self._stem = stem
        self._moment = 0.0
        self._clock = TapeClock(lambda: self._moment)
        self._problem: CassetteError | None = None
        self._http = HttpRecorder(
            beside(stem, SUFFIXES[1]),
            self._redactor,
            {REST: config.rest_url or RECORDED_REST_URL},
            self._clock,
            self._fail,
        )
        self._left_out = 0
        self._elsewhere: set[str] = set()

    def close(self) -> None:
        """Let go of what waits on disk."""
        self._http.close()

    def run(self, traffic: Iterator[Traffic], file: Path) -> None:
        """Write everything, or nothing.

        Raises:
            CassetteError: The capture cannot be used, or the recording cannot be written.
        """
        first = next(traffic, None)
        if first is None:
            raise CassetteError("there is nothing in it", file)
        about = facts("import", "connex import", datetime.fromtimestamp(first.at, UTC))
        writers: list[Writer] = []
        try:
            tape = CassetteWriter(beside(self._stem, SUFFIXES[0]), Header(FORMAT, VERSION, **about), self._redactor)
            writers.append(tape)
            recorder = Recorder(tape.write, tape.write_messages, self._redactor, self._canonical, self._clock)
            transcription = Transcription(recorder, self._keep)
            for item in chain((first,), traffic):
                transcription.take(item)
            recorder.finish()
            if not transcription.connections:
                raise CassetteError("there is no WebSocket in it", file)
            if (http := self._http.writer(about)) is not None:
                writers.append(http)
            for writer in writers:
                writer.finish()
            obsolete = [beside(self._stem, SUFFIXES[1])] if http is None else []
            removed = put_in_place(writers, obsolete)
        except BaseException:
            for writer in writers:
                writer.discard()
            raise
        self._tell(transcription, writers, removed)

    def _canonical(self, url: str) -> str:
        recorded = canonical_url(url, self._config.ws_url, RECORDED_WS_URL)
        if origin(recorded) != origin(RECORDED_WS_URL):
            self._elsewhere.add("{}://{}:{}".format(*origin(url)))
        return recorded

    def _keep(self, exchange: Exchange) -> None:
        urls = (self._config.rest_url or RECORDED_REST_URL, RECORDED_REST_URL)
        with suppress(ValueError):  # no URL
            is_connex = origin(exchange.url) in map(origin, urls)
            if is_connex and exchange.body is not None and 100 <= exchange.status <= 599:
                self._record(exchange, exchange.body)
                return
        self._left_out += 1

    def _record(self, exchange: Exchange, body: bytes) -> None:
        """Record what was asked and answered; a capture says when it was asked, and not when answered."""
        self._moment = exchange.at
        request = HttpRequest(
            exchange.method, exchange.url, _kept(exchange.request_headers), exchange.request_body or b""
        )
        conversation = self._http.asked(request)
        conversation.answered(exchange.status, exchange.reason, _kept(exchange.headers))
        conversation.piece(body)
        conversation.ended("whole")
        if self._problem is not None:
            raise self._problem

    def _fail(self, problem: CassetteError) -> None:
        self._problem = problem

    def _tell(self, transcription: Transcription, writers: list[Writer], removed: list[Path]) -> None:
        websocket, *http = (writer.path for writer in writers)
        connections = counted(transcription.connections, "connection")
        messages = counted(transcription.messages, "message")
        said = [f"recorded {websocket}: {connections}, {messages}"]
        said += [f"recorded {path}: {counted(self._http.passed.asked, 'request')}" for path in http]
        said += [f"removed {path}, which was of another recording" for path in removed]
        if transcription.lost:
            lost = counted(transcription.lost, "connection")
            said.append(f"recorded as lost (1006): {lost}, because the capture does not say how they ended")
        if self._elsewhere:
            listed = ", ".join(sorted(self._elsewhere))
            said.append(f"kept as they are: URLs of {listed}; --origin URL says which of them was Connex")
        if self._left_out:
            said.append(
                f"left out: {counted(self._left_out, 'HTTP request')}, because they go elsewhere than to {REST_URL} "
                "or --rest-origin, or have no whole answer in the capture"
            )
        if not self._config.has_credentials:
            said.append(
                f"{API_KEY} and {API_SECRET} are not both set: nothing but what is always secret could be replaced"
            )
        for line in said:
            typer.echo(line, err=True)


def opened(file: Path) -> BinaryIO:
    """Return the capture, to be read.

    Raises:
        CassetteError: It cannot be.
    """
    try:
        return file.open("rb")
    except OSError as exc:
        raise CassetteError(f"it cannot be read: {exc.strerror}", file) from exc


def traffic(file: BinaryIO, path: Path, format: Format | None) -> Iterator[Traffic]:
    """Return what was captured.

    Raises:
        CassetteError: The beginning does not tell the format.
    """
    head = file.read(_HEAD)
    file.seek(0)
    match format or _format_of(head, path):
        case Format.HAR:
            return read_har(file.read(), path)
        case Format.MITMPROXY:
            return read_flows(flows(file, path), path)
        case Format.LINES:
            return read_lines(file, path)


def _format_of(head: bytes, file: Path) -> Format:
    if looks_like_har(head):
        return Format.HAR
    if looks_like_flows(head):
        return Format.MITMPROXY
    if looks_like_lines(head):
        return Format.LINES
    raise CassetteError(
        "neither a HAR, nor flows of mitmproxy, nor lines of a time and a text; --format says which it is", file
    )


def _kept(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return headers without those that say how a body was written: it has been read."""
    return [
        (name, value) for name, value in headers if name.lower() not in _BODY_HEADERS and not name.startswith(":")
    ]
