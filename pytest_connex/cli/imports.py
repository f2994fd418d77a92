"""``connex import``: make a recording of what another tool has captured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import Annotated, BinaryIO

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
    VARIABLES,
    WS_URL,
    ConnexConfig,
    canonical_url,
    live_config,
    origin,
    read_environment,
)
from ..errors import CassetteError, ConfigError
from ..foreign.har import looks_like_har, read_har
from ..foreign.lines import looks_like_lines, read_lines
from ..foreign.mitmproxy import flows, looks_like_flows, read_flows
from ..foreign.traffic import Exchange, Traffic
from ..foreign.transcription import Transcription
from ..upstreams import REST
from .recording import SUFFIXES, beside, counted, facts, redactor_of, refuse_to_replace, stem_of

_HEAD = 4096
"""So many bytes tell the format."""

_BODY_HEADERS = frozenset({"content-encoding", "content-length", "transfer-encoding"})
"""What a capture says of a body that it does not hold: it holds the one that was unpacked."""


class Format(StrEnum):
    """What other tools write."""

    HAR = "har"
    MITMPROXY = "mitmproxy"
    LINES = "lines"


def import_(
    file: Annotated[Path, typer.Argument(help="A HAR, flows of mitmproxy, or lines of a time and a text.")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="OUT", help="Write OUT.ws.jsonl and OUT.yaml; else beside FILE."),
    ] = None,
    origin: Annotated[str, typer.Option(help="The WebSocket that was Connex; without it CONNEX_WS_URL.")] = "",
    rest_origin: Annotated[
        str, typer.Option(help="The REST API that was Connex; without it CONNEX_REST_URL. Other HTTP is left out.")
    ] = "",
    format: Annotated[Format | None, typer.Option(help="What FILE is; without it, its beginning tells.")] = None,
    rewrite: Annotated[bool, typer.Option(help="Replace a recording that exists.")] = False,
) -> None:
    """Turn a capture of another tool into a recording: messages as they were, without secrets.

    Known are the secrets of the environment and of .env, and whatever stands in headers and members that are always
    replaced.
    """
    try:
        values = read_environment(Path(".env"))
        values |= {name: url for name, url in ((WS_URL, origin), (REST_URL, rest_origin)) if url}
        config = live_config({name: values[name] for name in VARIABLES if name in values}, allow_plaintext=True)
        stem = stem_of(output) if output is not None else _stem_beside(file)
        for suffix in SUFFIXES:
            refuse_to_replace(beside(stem, suffix), rewrite)
        with closing(_Import(config, stem)) as work, _opened(file) as opened:
            work.run(_traffic(opened, file, format), file)
    except (ConfigError, CassetteError) as exc:
        typer.echo(f"connex import: {exc}", err=True)
        raise typer.Exit(2) from None


class _Import:
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


def _opened(file: Path) -> BinaryIO:
    try:
        return file.open("rb")
    except OSError as exc:
        raise CassetteError(f"it cannot be read: {exc.strerror}", file) from exc


def _traffic(opened: BinaryIO, file: Path, format: Format | None) -> Iterator[Traffic]:
    head = opened.read(_HEAD)
    opened.seek(0)
    match format or _format_of(head, file):
        case Format.HAR:
            return read_har(opened.read(), file)
        case Format.MITMPROXY:
            return read_flows(flows(opened, file), file)
        case Format.LINES:
            return read_lines(opened, file)


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


def _stem_beside(file: Path) -> Path:
    return file.with_name(file.name.removesuffix(file.suffix).removesuffix(".ws"))


def _kept(headers: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return headers without those that say how a body was written: it has been read."""
    return [
        (name, value) for name, value in headers if name.lower() not in _BODY_HEADERS and not name.startswith(":")
    ]
