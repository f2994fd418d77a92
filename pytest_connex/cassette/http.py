"""One test's HTTP recording: what this package asks of pytest-recording and VCR.py, and guards there.

VCR records, matches and plays. It is told here which hosts and secrets to replace, how bodies are compared,
and to hand over the file instead of writing it. Its weak spots are covered: a file that cannot be read is an
error, a request that is not recorded is remembered even when the client swallows the exception, and an
interaction that was never played is found.
"""

from __future__ import annotations

import gzip
import threading
import zlib
from collections import deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urljoin, urlsplit

from vcr import VCR
from vcr.cassette import Cassette
from vcr.persisters.filesystem import CassetteNotFoundError
from vcr.request import Request
from vcr.serialize import deserialize, serialize

from ..config import RECORDED_REST_URL, ConnexConfig, canonical_url, origin
from ..errors import CassetteError, CassetteMismatch, CassetteMissing, CassetteUnplayed
from ..protocol import Dialect
from ..secrets.redaction import Redactor
from .generated import advice, generated
from .http_file import read_http
from .matching import Difference, differences, fingerprint

_Message = TypeVar("_Message")
_Redacted = TypeVar("_Redacted")

_LISTED = 50
"""So many of the recorded requests are listed in a message."""

_ENCODINGS = frozenset({"gzip", "x-gzip", "deflate"})

MATCH_ON = ("method", "scheme", "host", "port", "path", "connex_query", "connex_body")


class HttpRecording:
    """The HTTP half of one test's recordings.

    Args:
        path: Where the recording is, or will be.
        recording: Whether this run makes it; otherwise it is played.
        facts: What the file says of itself: source, generator, test, time.
        settings: Returns the configuration, the dialect and the redactor of the test.
        miss: Told of the verdict when the test asks for what is not recorded.
        again: The command that records the test again.
    """

    def __init__(
        self,
        path: Path,
        recording: bool,
        facts: dict[str, str],
        settings: Callable[[], tuple[ConnexConfig, Dialect, Redactor]],
        miss: Callable[[CassetteError], None],
        again: str,
    ) -> None:
        self.path = path
        self._text: str | None = None
        self._recording = recording
        self._facts = facts
        self._settings = settings
        self._miss = miss
        self._again = again
        self._cassette: Cassette | None = None
        self._read: dict[str, Any] | None = None
        self._places: dict[Hashable, deque[int]] | None = None
        self._lock = threading.Lock()

    def options(self) -> dict[str, Any]:
        """Return the keyword arguments of the ``vcr`` marker."""
        return {
            "record_mode": "all" if self._recording else "none",
            "match_on": MATCH_ON,
            "before_record_request": self._telling(self._redact_request),
            "before_record_response": self._telling(self._redact_response),
            "decode_compressed_response": True,
            "drop_unused_requests": self._recording,
            "allow_playback_repeats": False,
            "filter_headers": (),
            "serializer": "yaml",
        }

    def configure(self, vcr: Any) -> None:
        """Take part in pytest-recording's ``pytest_recording_configure`` hook."""
        vcr.register_persister(self)
        vcr.register_matcher("connex_query", self.query)
        vcr.register_matcher("connex_body", self.body)

    def open(self) -> None:
        """Read the recording, or begin it."""
        if not self._recording and self.path.exists():
            self._read = read_http(self.path)

    def _opened(self) -> Cassette:
        if self._cassette is None:
            self._cassette = self._made()
        return self._cassette

    def _made(self) -> Cassette:
        vcr = VCR()
        self.configure(vcr)
        options = vcr.get_merged_config(**self.options())
        for name in ("path_transformer", "func_path_generator", "record_on_exception"):
            options.pop(name, None)
        return Cassette.load(path=str(self.path), **options)

    def text(self) -> str | None:
        """Return what is to be written, or None where nothing was asked."""
        if self._cassette is not None and self._cassette.dirty:
            self._cassette._save()
        return self._text

    # what a client asks that VCR does not reach

    def play(self, request: Request) -> dict[str, Any] | None:
        """Return the recorded answer to ``request``; None when there is none, and the verdict has been told.

        VCR compares a request with every recorded one; this looks it up, by the same rules.
        """
        with self._lock:
            cassette = self._opened()
            asked = None if cassette is None else cassette.filter_request(request)
            if cassette is not None and asked is not None:
                places = self._indexed(cassette).get(self._key(asked), ())
                while places:
                    place = places.popleft()
                    if not cassette.play_counts[place]:
                        cassette.play_counts[place] += 1
                        answer: dict[str, Any] = cassette.data[place][1]
                        return answer
            self._miss(self._verdict_on(request))
            return None

    def record(self, request: Request, response: dict[str, Any]) -> None:
        """Record an interaction; what cannot be recorded is the verdict.

        Args:
            request: As it was sent to the server.
            response: Its answer, as VCR has it: ``status``, ``headers`` with lists of values, and ``body``.
        """
        with self._lock, suppress(CassetteError):
            if asked := self._opened().filter_request(request):
                # VCR logs what it is given, so it gets nothing secret.
                self._opened().append(asked, self._telling(self._readable)(response))

    def _readable(self, response: dict[str, Any]) -> dict[str, Any]:
        """Return a response as it may be shown, its body no longer compressed; VCR keeps one it cannot decompress."""
        content = response["body"]["string"]
        headers = dict(response["headers"])
        for name in list(headers):
            encoding = ", ".join(headers[name]).lower()
            if name.lower() == "content-encoding" and (not content or encoding in _ENCODINGS):
                del headers[name]  # without a body, as for HEAD, there is nothing that is compressed
                content = _decompressed(content, encoding, "the body of an answer", self.path) if content else b""
        return self._redact_response({**response, "headers": headers, "body": {"string": content}})

    def _indexed(self, cassette: Cassette) -> dict[Hashable, deque[int]]:
        if self._places is None:
            self._places = {}
            for place, (request, _) in enumerate(cassette.data):
                self._places.setdefault(self._key(request), deque()).append(place)
        return self._places

    def _key(self, request: Request) -> Hashable:
        """Return what is equal for two requests just when they match on ``MATCH_ON``."""
        dialect = self._settings()[1]
        body = fingerprint(_body_text(request), dialect.volatile_body)
        return request.method, origin(request.uri), request.path, tuple(self._parameters(request)), body

    def unplayed(self) -> CassetteUnplayed | None:
        """Return what of the recording the test has not used, or None when it used it up."""
        if self._read is None:
            return None

        cassette = self._opened()
        counts = cassette.play_counts
        left = [request for index, request in enumerate(cassette.requests) if not counts[index]]
        if not left:
            return None
        listing = _listing([f"{request.method} {request.uri}" for request in left])
        return CassetteUnplayed(f"the test left a part of its recording unused:{listing}\n{self._again}", self.path)

    # VCR's persister: it calls these two

    def load_cassette(self, cassette_path: str, serializer: Any) -> Any:
        """Return the recorded interactions; the path pytest-recording made up is ignored."""
        if self._read is None:
            raise CassetteNotFoundError(f"no recording at {self.path}")
        try:
            return deserialize("", _Read(self._read))
        except Exception as exc:
            raise CassetteError(f"not a recording of HTTP: {exc!r}", self.path, 1) from exc

    def save_cassette(self, cassette_path: str, cassette_dict: Any, serializer: Any) -> None:
        """Keep what was recorded; it is written when the test has passed."""
        interactions = len(cassette_dict["requests"])
        facts = {**self._facts, "interactions": interactions}
        self._text = serializer.serialize({"connex": facts}) + serialize(cassette_dict, serializer)

    # hosts and secrets

    def _telling(self, redact: Callable[[_Message], _Redacted]) -> Callable[[_Message], _Redacted]:
        """Return ``redact`` so that a refusal is told before the client, which may swallow it, sees it."""

        def told(message: _Message) -> _Redacted:
            try:
                return redact(message)
            except CassetteError as exc:
                self._miss(exc)
                raise

        return told

    def _redact_request(self, request: Request) -> Request | None:
        config, _, redactor = self._settings()
        base = config.rest_url or RECORDED_REST_URL
        if origin(request.uri) not in (origin(base), origin(RECORDED_REST_URL)):
            return None
        request.uri = redactor.text(canonical_url(request.uri, base, RECORDED_REST_URL))
        body = _decoded(request.body, request.headers, self.path)
        if body is not None:
            request.body = redactor.binary(body)
        for name in list(request.headers):
            if name.lower() in ("content-encoding", "host"):
                del request.headers[name]
            else:
                request.headers[name] = redactor.header(name, _as_text(request.headers[name]))
        return request

    def _redact_response(self, response: dict[str, Any]) -> dict[str, Any]:
        config, _, redactor = self._settings()
        for name, values in response["headers"].items():
            response["headers"][name] = [
                redactor.header(name, self._canonical_location(name, value, config.rest_url)) for value in values
            ]
            if name.lower() == "content-encoding":
                raise CassetteError(
                    f"the answer is encoded with {values}, which cannot be searched for secrets", self.path
                )
        body = response["body"]
        if isinstance(body.get("string"), (bytes, str)):
            body["string"] = redactor.payload(body["string"])
            for name in response["headers"]:
                if name.lower() == "content-length" and body["string"]:  # that of HEAD tells of another body
                    response["headers"][name] = [str(len(body["string"]))]
        return response

    @staticmethod
    def _canonical_location(name: str, value: str, base: str) -> str:
        if name.lower() in ("location", "content-location"):
            upstream = base or RECORDED_REST_URL
            with suppress(ValueError):  # no URL
                if "://" in value:
                    return canonical_url(value, upstream, RECORDED_REST_URL)
                if value.startswith("/") and not value.startswith("//"):
                    whole = canonical_url(urljoin(upstream, value), upstream, RECORDED_REST_URL)
                    return whole.removeprefix(RECORDED_REST_URL)
        return value

    # VCR's matchers: it shows their names where a request is not recorded

    def query(self, actual: Request, recorded: Request) -> None:
        """Refuse another query; the order of parameters and the values of volatile ones do not count."""
        left, right = self._parameters(recorded), self._parameters(actual)
        if left != right:
            raise AssertionError(f"expected {left}, actual {right}")

    def _parameters(self, request: Request) -> list[tuple[str, str]]:
        volatile = self._settings()[1].volatile_query
        return sorted(
            (name, "" if name in volatile else value)
            for name, value in parse_qsl(urlsplit(request.uri).query, keep_blank_values=True)
        )

    def body(self, actual: Request, recorded: Request) -> None:
        """Refuse another body; see :mod:`~pytest_connex.cassette.matching`."""
        volatile = self._settings()[1].volatile_body
        found = differences(_body_text(recorded), _body_text(actual), volatile)
        if found:
            raise AssertionError("; ".join(map(str, found)))

    def _verdict_on(self, request: Request) -> CassetteError:
        _, _, redactor = self._settings()
        asked = f"{request.method} {redactor.text(request.uri)}"
        cassette = self._cassette
        if cassette is None or not cassette.requests:
            return CassetteMissing(f"nothing is recorded for {asked}\n{self._again}", self.path)
        recorded = _listing(
            [
                f"{other.method} {other.uri}{' (played)' if cassette.play_counts[index] else ''}"
                for index, other in enumerate(cassette.requests)
            ]
        )
        differing = hint = ""
        for closest, _, failed in cassette.find_requests_with_most_matches(request)[:1]:
            differing = "".join(f"\n  {name}: {detail}" for name, detail in failed)
            hint = "".join(f"\n{line}" for line in self._hints(closest, request, {name for name, _ in failed}))
        return CassetteMismatch(
            f"{asked} is not recorded, or was played already\nrecorded are:{recorded}"
            f"{differing and chr(10) + 'the closest differs in:' + differing}{hint}\n{self._again}",
            self.path,
        )

    def _hints(self, recorded: Request, actual: Request, failed: set[str]) -> list[str]:
        """Return what to do about differences, if every one of them looks made up."""
        if not failed or failed - {"query", "body"}:
            return []
        left, right = self._parameters(recorded), self._parameters(actual)
        if [name for name, _ in left] != [name for name, _ in right]:
            return []
        query = [
            Difference(name, repr(before), repr(after))
            for (name, before), (_, after) in zip(left, right, strict=True)
            if before != after
        ]
        body = differences(_body_text(recorded), _body_text(actual), self._settings()[1].volatile_body)
        names = {"volatile_query": generated(query), "volatile_body": generated(body)}
        if bool(query) != bool(names["volatile_query"]) or bool(body) != bool(names["volatile_body"]):
            return []
        return [
            advice(found, f"{member} = (*Dialect.{member}, {{}}) in the dialect of your connex_dialect")
            for member, found in names.items()
            if found
        ]


class _Read:
    """A serializer whose work is done already."""

    def __init__(self, data: Any) -> None:
        self._data = data

    def deserialize(self, text: str) -> Any:
        return self._data


def _listing(lines: list[str]) -> str:
    more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
    return "".join(f"\n  {line}" for line in (*lines[:_LISTED], *more))


def _decoded(body: Any, headers: Any, path: Path) -> bytes | None:
    if body is None:
        return None
    raw = body.encode() if isinstance(body, str) else body.read() if hasattr(body, "read") else body
    content = raw if isinstance(raw, (bytes, bytearray)) else b"".join(raw)
    encoding = _as_text(headers.get("Content-Encoding", "")).lower()
    if encoding in _ENCODINGS:
        return _decompressed(bytes(content), encoding, "the body of a request", path)
    if encoding not in ("", "identity"):
        raise CassetteError(f"a request body is encoded with {encoding}, which cannot be searched for secrets", path)
    return bytes(content)


def _decompressed(content: bytes, encoding: str, whose: str, path: Path) -> bytes:
    try:
        if encoding != "deflate":
            return gzip.decompress(content)
        raw = content[0] & 0x0F != zlib.DEFLATED  # some leave out zlib's head, which says that method first
        return zlib.decompress(content, -zlib.MAX_WBITS if raw else zlib.MAX_WBITS)
    except (OSError, EOFError, zlib.error) as exc:
        raise CassetteError(f"{whose} is not {encoding}: {exc}", path) from exc


def _body_text(request: Request) -> str | bytes:
    body = request.body or b""
    content = body.encode() if isinstance(body, str) else bytes(body)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content


def _as_text(value: Any) -> str:
    """Return the value of a header as text; in bytes it is UTF-8, which the dialect sends, or else Latin-1."""
    if not isinstance(value, bytes):
        return str(value)
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")
