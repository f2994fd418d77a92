"""What passes over HTTP, as it is recorded."""

from __future__ import annotations

import base64
import gzip
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_connex.cassette import http_recorder
from pytest_connex.cassette.exchange import HttpRequest, Interaction, Piece
from pytest_connex.cassette.http_file import read_interactions
from pytest_connex.cassette.http_recorder import HttpRecorder
from pytest_connex.cassette.stamps import TapeClock
from pytest_connex.cassette.tally import Requests
from pytest_connex.errors import CassetteError, SecretFound
from pytest_connex.protocol import Dialect
from pytest_connex.secrets.learning import redactor_for
from pytest_connex.secrets.redaction import LONG as LENGTH
from pytest_connex.secrets.redaction import Redactor

KEY, SECRET = "AKfYcbwXYZ0123456789abcd", "s3cr3t/with+special=chars=="
LIVE, VENUE = "https://gateway.example/api", "https://venue.example"
HOST = "https://rest.connex.invalid"
REDACTOR = Redactor({KEY: "connex-recorded-key", SECRET: "connex-recorded-secret"}, Dialect().secret_fields)
FACTS = {"source": "live"}
PACKERS = {
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": lambda body: zlib.compress(body, wbits=-15),
    "x-gzip": gzip.compress,
}


def request(asked: str = "GET /a", headers: list[tuple[str, str]] | None = None, body: bytes = b"") -> HttpRequest:
    method, _, path = asked.partition(" ")
    return HttpRequest(method, LIVE + path, headers or [], body)


class Deck:
    """A recorder, at whatever time it is told."""

    def __init__(self, path: Path, redactor: Redactor = REDACTOR) -> None:
        self.path = path
        self.now = 100.0
        self.clock = TapeClock(lambda: self.now)
        self.problems: list[CassetteError] = []
        upstreams = {"rest": LIVE, "venue": VENUE}
        self.recorder = HttpRecorder(path, redactor, upstreams, self.clock, self.problems.append)

    def exchange(
        self,
        asked: HttpRequest | None = None,
        *pieces: bytes,
        status: int = 200,
        headers: list[tuple[str, str]] | None = None,
    ) -> None:
        conversation = self.recorder.asked(asked or request())
        conversation.answered(status, "OK", headers or [])
        for piece in pieces:
            conversation.piece(piece)
        conversation.ended("whole")

    def held(self) -> list[Interaction]:
        self.recorder.finish()
        assert self.problems == []
        writer = self.recorder.writer(FACTS)
        assert writer is not None
        writer.finish()
        writer.commit()
        writer.settle()
        return read_interactions(self.path)


@pytest.fixture
def deck(tmp_path: Path) -> Iterator[Deck]:
    made = Deck(tmp_path / "test_y.yaml")
    yield made
    made.recorder.close()


# --- What passed ----------------------------------------------------------------------------------------------


def test_an_exchange_is_recorded_with_its_times_under_the_canonical_host(deck):
    conversation = deck.recorder.asked(request("POST /v1/order?n=1", [("X-N", "1")], b'{"n": 1.10}'))
    deck.now = 100.25
    conversation.answered(201, "Created", [("Content-Type", "application/json")])
    conversation.piece(b'{"price": 1.10}')
    conversation.ended("whole")
    asked = HttpRequest("POST", f"{HOST}/v1/order?n=1", [("X-N", "1")], b'{"n": 1.10}')
    headers = [("Content-Type", "application/json")]
    assert deck.held() == [Interaction(asked, 201, "Created", headers, b'{"price": 1.10}', 0.0, 0.25)]
    assert "gateway.example" not in deck.path.read_text()
    assert deck.recorder.passed == Requests(asked=1, size=15)


fields = st.lists(st.tuples(st.sampled_from(["Set-Cookie2", "set-cookie2", "X-N"]), st.text("abü \x80", max_size=3)))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)
@given(
    st.sampled_from(["GET", "HEAD", "DELETE"]), st.integers(100, 599), st.text("abcÿ ", max_size=5), fields,
    st.lists(st.binary(min_size=1, max_size=5), max_size=3), st.binary(max_size=5),
)  # fmt: skip
def test_nothing_is_added_to_an_answer_and_nothing_lost(tmp_path, method, status, reason, headers, pieces, body):
    deck = Deck(tmp_path / "test_y.yaml", Redactor({}))
    conversation = deck.recorder.asked(HttpRequest(method, f"{LIVE}/a", [], body))
    conversation.answered(status, reason, headers)
    for piece in pieces:
        conversation.piece(piece)
    conversation.ended("whole")
    [held] = deck.held()
    deck.recorder.close()
    assert (held.request.body, held.status, held.reason, held.headers) == (body, status, reason, headers)
    assert held.body == b"".join(pieces)
    assert [piece.length for piece in held.pieces] == ([len(piece) for piece in pieces] if len(pieces) > 1 else [])


def test_requests_stand_in_the_order_in_which_they_were_asked(deck):
    first, second, third = (deck.recorder.asked(request(f"GET /{number}")) for number in range(3))
    for conversation in (third, first, second):
        conversation.answered(200, "OK", [])
        conversation.ended("whole")
    assert [one.request.url for one in deck.held()] == [f"{HOST}/{number}" for number in range(3)]


def test_requests_and_frames_are_on_one_clock(deck):
    deck.clock.frame(deck.now)
    conversation = deck.recorder.asked(request())
    frame = deck.clock.frame(deck.now)
    conversation.answered(200, "OK", [])
    conversation.ended("whole")
    [held] = deck.held()
    assert 0.0 < held.asked < frame < held.answered


def test_nothing_is_written_where_nothing_was_asked(deck, tmp_path):
    deck.recorder.finish()
    assert deck.recorder.writer(FACTS) is None
    assert list(tmp_path.iterdir()) == []


def test_bodies_that_do_not_fit_into_memory_wait_on_disk(deck):
    pieces = [bytes([number]) * 700_000 for number in range(4)]
    for _ in range(2):
        deck.exchange(None, *pieces)
    first, second = deck.held()
    assert first.body == second.body == b"".join(pieces)


LONG = b'{"note": "%s", "again": "%s"}' % (b"x" * LENGTH, KEY.encode())


def looked_into(deck: Deck, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that gets the length of each body that is cleaned."""
    lengths: list[int] = []
    plain = deck.recorder._cleaning.interaction

    def cleaned(interaction: Interaction, came: int) -> Interaction:
        lengths.append(max(len(interaction.body), len(interaction.request.body)))
        return plain(interaction, came)

    monkeypatch.setattr(deck.recorder._cleaning, "interaction", cleaned)
    return lengths


def test_what_is_long_waits_for_the_end_of_the_test_to_be_cleaned(deck, monkeypatch):
    """Nothing else would pass while it is."""
    cleaned = looked_into(deck, monkeypatch)
    deck.exchange(request("GET /long"), LONG[:100], LONG[100:])
    deck.now += 1
    deck.exchange(request("POST /sent", body=LONG), b"ok")
    deck.now += 1
    deck.exchange(request("GET /short"), b"ok")
    assert cleaned == [2]
    deck.recorder.check()
    assert cleaned == [2, len(LONG), len(LONG)]
    first, second, third = deck.held()
    assert KEY.encode() not in first.body + second.request.body
    assert [one.request.url for one in (first, second, third)] == [
        f"{HOST}/{name}" for name in ("long", "sent", "short")
    ]
    assert len(cleaned) == 3


@pytest.mark.parametrize("told", ["body", "header"])
def test_a_secret_that_is_told_in_what_is_long_is_known_at_once(tmp_path, told):
    redactor = redactor_for(Dialect(), {KEY: "connex-recorded-key"})
    deck = Deck(tmp_path / "a.yaml", redactor)
    secret = "a1b2c3d4e5f6"
    told_in_body = b'{"note": "%s", "token": "%s"}' % (b"x" * LENGTH, secret.encode())
    place = told_in_body.index(b"token") + 2  # its name comes in two pieces
    if told == "body":
        deck.exchange(request("GET /long"), told_in_body[:place], told_in_body[place:])
    else:
        deck.exchange(request("GET /long"), LONG, headers=[("Set-Cookie", f"session={secret}; Path=/")])
    assert secret not in redactor.text(f"/ws/{secret}")
    deck.now += 1
    deck.exchange(request(f"GET /ws/{secret}"), b"ok")
    first, second = deck.held()
    assert secret.encode() not in first.body + second.request.url.encode()


@pytest.mark.parametrize("padding", [b"", LONG], ids=["short", "long"])
def test_others_may_ask_while_a_refusal_is_told(tmp_path, padding):
    """Whoever is told may end the test, and its clients ask on other threads meanwhile."""
    waits: list[bool] = []

    def fail(problem: CassetteError) -> None:
        other = threading.Thread(target=recorder.asked, args=[request()])
        other.start()
        other.join(1)
        waits.append(other.is_alive())

    recorder = HttpRecorder(tmp_path / "a.yaml", REDACTOR, {"rest": LIVE}, TapeClock(lambda: 0.0), fail)
    conversation = recorder.asked(request("POST /a", body=gzip.compress(KEY.encode()) + padding))
    conversation.answered(200, "OK", [])
    conversation.ended("whole")
    recorder.check()
    recorder.close()
    assert waits == [False]


def test_only_so_many_wait(deck, monkeypatch):
    monkeypatch.setattr(http_recorder, "_MOST_WAITING", 2)
    cleaned = looked_into(deck, monkeypatch)
    for count in range(5):
        deck.now += 1
        deck.exchange(request(f"GET /{count}"), LONG)
    assert len(cleaned) == 3
    assert [one.request.url for one in deck.held()] == [f"{HOST}/{count}" for count in range(5)]


def test_a_test_that_fails_cleans_nothing_long(deck, monkeypatch):
    cleaned = looked_into(deck, monkeypatch)
    deck.exchange(request("GET /long"), LONG)
    deck.recorder.close()
    deck.recorder.check()
    assert cleaned == []


def test_another_upstream_has_a_host_of_its_own(deck):
    conversation = deck.recorder.asked(HttpRequest("GET", f"{VENUE}/a", [], b""), "venue")
    conversation.answered(302, "Found", [("Location", f"{LIVE}/b"), ("Content-Location", "/c"), ("Link", "//x y")])
    conversation.ended("whole")
    [held] = deck.held()
    assert (held.upstream, held.request.url) == ("venue", "https://venue.connex.invalid/a")
    assert held.headers == [("Location", f"{HOST}/b"), ("Content-Location", "/c"), ("Link", "//x y")]


@pytest.mark.parametrize(
    ("location", "recorded"),
    [
        (f"{LIVE}/b", f"{HOST}/b"),
        ("/api/b", "/b"),
        ("b", "b"),
        ("//other.example/b", "//other.example/b"),
        ("https://other.example/b", "https://other.example/b"),
        ("https://[b", "https://[b"),
    ],
)
def test_where_a_redirect_leads_has_the_host_that_recordings_carry(deck, location, recorded):
    deck.exchange(None, status=302, headers=[("LOCATION", location), ("Content-Length", "0")])
    assert deck.held()[0].headers == [("LOCATION", recorded), ("Content-Length", "0")]


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_without_a_body_headers_stay_as_they_are(deck, method):
    headers = [("Content-Length", "512"), ("Content-Encoding", "br"), ("ETag", '"a"')]
    deck.exchange(request(f"{method} /a"), status=200 if method == "HEAD" else 304, headers=headers)
    [held] = deck.held()
    assert (held.headers, held.body) == (headers, b"")


def test_headers_that_somebody_could_not_decode_are_latin_1(deck):
    deck.exchange(None, headers=[("X-N", b"\xff\xc3\xbc".decode("utf-8", "surrogateescape"))])
    assert deck.held()[0].headers == [("X-N", "\xff\xc3\xbc")]


# --- How it came, and how it ended ----------------------------------------------------------------------------


def pieces_of(deck: Deck, *steps: tuple[float, bytes], headers: list[tuple[str, str]] | None = None) -> Interaction:
    conversation = deck.recorder.asked(request())
    conversation.answered(200, "OK", headers or [])
    for after, data in steps:
        deck.now += after
        conversation.piece(data)
    conversation.ended("whole")
    return deck.held()[0]


def test_a_stream_is_recorded_as_it_came(deck):
    held = pieces_of(deck, (0.01, b"one"), (1.0, b"three"), (0.01, b"x"))
    assert held.pieces == (Piece(0.01, 3), Piece(1.01, 5), Piece(1.02, 1))


def test_a_body_of_a_declared_length_comes_in_one_piece_for_each_breath(deck):
    steps = (0.01, b"one"), (0.01, b"two"), (1.0, b"x"), (0.01, b"y")
    held = pieces_of(deck, *steps, headers=[("content-length", "8")])
    assert held.pieces == (Piece(0.02, 6), Piece(1.03, 2))


def test_a_body_that_comes_with_its_head_needs_no_time(deck):
    assert pieces_of(deck, (0.05, b"one"), (0.0, b"")).pieces == ()


@pytest.mark.parametrize("between", [True, False])
def test_a_body_that_comes_later_has_its_time(deck, between):
    conversation = deck.recorder.asked(request())
    conversation.answered(200, "OK", [])
    if between:
        deck.clock.frame(deck.now)
    deck.now += 0.01 if between else 0.06
    conversation.piece(b"one")
    conversation.ended("whole")
    [held] = deck.held()
    assert held.pieces == (Piece(0.01 if between else 0.06, 3),)


def test_an_end_that_comes_later_has_its_time(deck):
    conversation = deck.recorder.asked(request())
    conversation.answered(200, "OK", [])
    conversation.piece(b"one")
    deck.now += 30
    conversation.ended("whole")
    [held] = deck.held()
    assert (held.pieces, held.over, held.ended) == ((), 30.0, "whole")


@pytest.mark.parametrize("how", ["cut", "left"])
def test_a_body_that_did_not_come_to_its_end_is_kept_as_far_as_it_came(deck, how):
    conversation = deck.recorder.asked(request())
    conversation.answered(200, "OK", [("Content-Length", "1000")])
    conversation.piece(f"half of {KEY}".encode())
    deck.now += 2
    conversation.ended(how, ConnectionResetError(104, "reset") if how == "cut" else None)
    conversation.ended("whole")
    conversation.piece(b"more")
    [held] = deck.held()
    grown = len("connex-recorded-key") - len(KEY)
    assert (held.body, held.headers) == (b"half of connex-recorded-key", [("Content-Length", str(1000 + grown))])
    assert (held.ended, held.over, held.status) == (how, 2.0, 200)
    assert (held.error, held.errno) == (("ConnectionResetError", 104) if how == "cut" else ("", None))


@pytest.mark.parametrize(
    ("how", "error", "reason"),
    [
        ("left", None, "The client gave up"),
        ("reset", ConnectionResetError(104, "Connection reset by peer"), "The server broke off the connection"),
        ("refused", ConnectionRefusedError(111, "refused"), "The server could not be reached"),
        ("unanswered", None, "The server gave no answer"),
    ],
)
def test_what_was_not_answered_is_recorded_as_what_it_was(deck, how, error, reason):
    conversation = deck.recorder.asked(request())
    deck.now += 3
    conversation.ended(how, error)
    [held] = deck.held()
    assert (held.status, held.reason, held.ended, held.answered, held.over) == (None, reason, how, None, 3.0)
    failure = held.failure()
    assert (type(failure), failure and failure.errno) == (type(error), error and error.errno)


def test_what_is_open_at_the_end_of_the_test_was_left_by_the_client(deck):
    streaming = deck.recorder.asked(request("GET /stream"))
    streaming.answered(200, "OK", [])
    streaming.piece(b"data: 1\n\n")
    deck.recorder.asked(request("GET /slow"))
    assert [(one.ended, one.status, one.body) for one in deck.held()] == [
        ("left", 200, b"data: 1\n\n"),
        ("left", None, b""),
    ]


def test_nothing_counts_after_the_end_of_the_test(deck):
    deck.exchange()
    open_still = deck.recorder.asked(request("GET /b"))
    deck.recorder.finish()
    open_still.answered(200, "OK", [])
    open_still.piece(b"x")
    late = deck.recorder.asked(request("GET /c"))
    late.answered(200, "OK", [])
    late.piece(b"x")
    late.ended("whole")
    assert [one.request.url for one in deck.held()] == [f"{HOST}/a", f"{HOST}/b"]


# --- Secrets and compression ----------------------------------------------------------------------------------


def test_headers_and_query_of_a_request_are_redacted(deck):
    headers = [
        ("X-CONNEX-API-KEY", KEY),
        ("Authorization", "Bearer abc"),
        ("Host", "gateway.example"),
        ("X-N", "1"),
    ]
    deck.exchange(
        request(f"GET /a?key={KEY}&secret=s3cr3t%2Fwith%2Bspecial%3Dchars%3D%3D&signature=00ff&n=1", headers)
    )
    asked = deck.held()[0].request
    assert asked.url == (
        f"{HOST}/a?key=connex-recorded-key&secret=connex-recorded-secret&signature=connex-recorded-signature&n=1"
    )
    assert asked.headers == [
        ("X-CONNEX-API-KEY", "connex-recorded-key"),
        ("Authorization", "connex-recorded-authorization"),
        ("X-N", "1"),
    ]


def test_headers_and_reason_of_an_answer_are_redacted(deck):
    conversation = deck.recorder.asked(request())
    cookies = [("Set-Cookie", "a=1"), ("X-Echo", KEY), ("Set-Cookie", "b=2")]
    conversation.answered(401, f"No {KEY}", cookies)
    conversation.ended("whole")
    [held] = deck.held()
    assert held.reason == "No connex-recorded-key"
    assert held.headers == [
        ("Set-Cookie", "a=connex-recorded-a"),
        ("X-Echo", "connex-recorded-key"),
        ("Set-Cookie", "b=connex-recorded-b"),
    ]


@pytest.mark.parametrize("encoding", ["", "identity", *PACKERS])
def test_bodies_are_redacted_whatever_their_encoding(deck, encoding):
    body = f'{{"key": "{KEY}", "token": "abc", "n": 1.10}}'.encode()
    packed = PACKERS.get(encoding, bytes)(body)
    headers = [("Content-Length", str(len(packed)))] + ([("content-encoding", encoding)] if encoding else [])
    deck.exchange(request("POST /a", headers, packed), packed[:5], packed[5:], headers=headers)
    [held] = deck.held()
    redacted = b'{"key": "connex-recorded-key", "token": "connex-recorded-token", "n": 1.10}'
    length = ("Content-Length", str(len(redacted)))
    assert (held.request.body, held.body) == (redacted, redacted)
    assert held.request.headers == [length]
    assert held.headers == [length, *([("content-encoding", encoding)] if encoding == "identity" else [])]


def test_a_compressed_stream_keeps_its_pieces(deck):
    packing = zlib.compressobj(wbits=31)
    conversation = deck.recorder.asked(request())
    conversation.answered(200, "OK", [("Content-Encoding", "gzip")])
    for number in range(3):
        deck.now += 1
        conversation.piece(packing.compress(b"x" * (number + 1)) + packing.flush(zlib.Z_SYNC_FLUSH))
    conversation.piece(packing.flush())
    conversation.ended("whole")
    assert deck.held()[0].pieces == (Piece(1.0, 1), Piece(2.0, 2), Piece(3.0, 3))


def test_a_compressed_body_that_was_cut_is_kept_as_far_as_it_can_be_read(deck):
    packing = zlib.compressobj(wbits=31)
    conversation = deck.recorder.asked(request())
    conversation.answered(200, "OK", [("Content-Encoding", "gzip")])
    conversation.piece(packing.compress(b"hello") + packing.flush(zlib.Z_SYNC_FLUSH) + b"\x01")
    conversation.ended("cut")
    [held] = deck.held()
    assert (held.body, held.headers, held.ended) == (b"hello", [], "cut")


@pytest.mark.parametrize(
    ("stream", "lengths"),
    [
        ([b"a ", KEY.encode(), b" b"], [2, 19, 2]),
        ([b"a ", KEY[:5].encode(), KEY[5:].encode() + b" b"], [2, 21]),
        ([b"a " + KEY[:5].encode(), KEY[5:].encode(), b" b"], [21, 2]),
        ([b"a ", KEY[:5].encode()], [2, 5]),
    ],
    ids=["apart", "at the end", "at the beginning", "half a secret"],
)
def test_pieces_have_the_lengths_that_they_have_without_secrets(deck, stream, lengths):
    held = pieces_of(deck, *((1.0, piece) for piece in stream))
    assert [piece.length for piece in held.pieces] == lengths
    assert sum(lengths) == len(held.body)
    assert KEY.encode() not in held.body


@pytest.mark.parametrize(
    ("whose", "encoding", "said"),
    [
        ("answer", "br", "the answer is encoded with br, which cannot be searched for secrets"),
        ("answer", "gzip, br", "the answer is encoded with gzip, br, which cannot be searched for secrets"),
        ("answer", "gzip", "the body of an answer is not gzip: "),
        ("cut", "gzip", "the body of an answer is not gzip: it is cut off"),
        ("request", "zstd", "a request body is encoded with zstd, which cannot be searched for secrets"),
        ("request", "deflate", "the body of a request is not deflate: "),
    ],
)
def test_what_cannot_be_looked_into_is_told_once_and_not_written(deck, whose, encoding, said):
    headers = [("Content-Encoding", encoding)]
    content = gzip.compress(b"hello")[:-4] if whose == "cut" else b"\x00\x01"
    for _ in range(2):
        if whose == "request":
            deck.exchange(request("POST /a", headers, content))
        else:
            deck.exchange(None, content, headers=headers)
    deck.recorder.finish()
    [problem] = deck.problems
    assert str(problem).startswith(f"{deck.path}: {said}")
    with pytest.raises(CassetteError) as caught:
        deck.recorder.writer(FACTS)
    assert caught.value is problem


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: zlib.compress(body, wbits=-15)])
@pytest.mark.parametrize("whose", ["answer", "request"])
def test_a_secret_that_cannot_be_replaced_is_told_and_not_written(deck, pack, whose):
    padding = " ".join(str(number * 7919 % 1000003) for number in range(400))
    hidden = pack(f"{padding} {SECRET}".encode())
    deck.exchange(request("POST /a", [], hidden if whose == "request" else b""), hidden)
    deck.recorder.finish()
    [problem] = deck.problems
    assert type(problem) is SecretFound
    what = "the request" if whose == "request" else "the answer to"
    assert str(problem) == f"{deck.path}: a secret was left in {what} POST {HOST}/a; nothing was written"


def test_a_secret_is_refused_as_deep_as_can_be_searched(deck):
    data = f"a {SECRET}".encode()
    for _ in range(6):  # five are undone, and the last is a spelling of its own
        data = base64.b64encode(data)
    deck.exchange(None, b"\xff" + data)
    assert [type(problem) for problem in deck.problems] == [SecretFound]


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_headers_beyond_ascii_are_redacted(tmp_path, encoding):
    deck = Deck(tmp_path / "test_y.yaml", Redactor({"schlüssel-öä": "connex-recorded-key"}))
    header = ("X-Echo", "schlüssel-öä".encode(encoding).decode("latin-1"))
    deck.exchange(request("GET /a", [header]), headers=[header])
    [held] = deck.held()
    deck.recorder.close()
    assert held.headers == held.request.headers == [("X-Echo", "connex-recorded-key")]


def test_a_secret_that_no_recording_can_be_without_is_told_with_what_to_do(tmp_path):
    deck = Deck(tmp_path / "test_y.yaml", Redactor({"connex-recorded": "connex-recorded-key"}))
    deck.exchange(request("GET /a", [("X-N", "connex-recorded")]))
    deck.recorder.close()
    [problem] = deck.problems
    assert "a secret was left in the headers of GET" in str(problem)
    assert str(problem).endswith("so that no recording can be without it: record with another one")
