"""Which recorded answer a request gets, when it is due, and what is said where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_connex.cassette.exchange import Fields, HttpRequest, Interaction, Piece
from pytest_connex.cassette.http_matching import Matching
from pytest_connex.cassette.http_player import HttpPlayer, HttpRules, Played, PlayedPiece
from pytest_connex.errors import CassetteError, CassetteMismatch, CassetteMissing, CassetteUnplayed
from pytest_connex.protocol import Dialect
from pytest_connex.secrets.redaction import Redactor

KEY = "AKfYcbwXYZ0123456789abcd"
HOST = "https://rest.connex.invalid"
PATH = Path("test_y.yaml")
AGAIN = "record it again: pytest --again"


def request(asked: str, body: bytes = b"", headers: Fields | None = None, base: str = HOST) -> HttpRequest:
    method, _, path = asked.partition(" ")
    return HttpRequest(method, base + path, headers or [], body)


def interaction(asked: str, answer: bytes = b"", body: bytes = b"", at: float | None = None) -> Interaction:
    answered = None if at is None else at + 0.5
    return Interaction(request(asked, body), 200, "OK", [], answer, at, answered)


def player(*held: Interaction, upstreams: dict[str, str] | None = None) -> HttpPlayer:
    redactor = Redactor({KEY: "connex-recorded-key"}, Dialect().secret_fields)
    matching = Matching(("timestamp",), ("nonce", "data.id"))
    return HttpPlayer(PATH, held, HttpRules(matching, redactor, upstreams or {"rest": HOST}, AGAIN))


def echoing(pieces: tuple[bytes, ...], headers: Fields) -> bytes:
    """Return what a client gets that asks with the id 9 where the recording has 7."""
    body = b"".join(pieces)
    parts = tuple(Piece(0.5, len(piece)) for piece in pieces)
    recorded = request("POST /a", b'{"id": 7}')
    held = Interaction(recorded, 200, "OK", headers, body, 0.0, 0.5, parts if len(pieces) > 1 else ())
    rules = HttpRules(Matching((), ("id",)), Redactor({}), {"rest": HOST}, AGAIN, ("id",))
    played = HttpPlayer(PATH, [held], rules).ask(request("POST /a", b'{"id": 9}'))
    return b"".join(map(played.data, range(len(played.pieces))))


@pytest.mark.parametrize("headers", [[], [("Content-Length", "32")]])
def test_an_id_comes_back_at_its_own_place_only(headers):
    answer = b'{"id":7,"trades":[{"id":7,"n":1}]}'
    assert echoing((answer,), headers) == answer.replace(b'{"id":7,"t', b'{"id":9,"t')
    assert echoing((answer[:18], answer[18:]), headers) == answer  # its places are not known in pieces


@pytest.fixture
def two() -> HttpPlayer:
    return player(
        interaction("GET /a?n=1&timestamp=1", b"first"),
        interaction("POST /b", b"second", b'{"n": 1, "m": [1.5], "nonce": 1}'),
    )


def test_an_answer_is_what_was_recorded():
    headers = [("Set-Cookie", "a=1"), ("X-N", "1"), ("Set-Cookie", "b=2")]
    held = Interaction(request("GET /a"), 418, "I'm a teapot", headers, b"\xff", 0.0, 0.5)
    found = player(held).ask(request("GET /a"))
    assert (found.status, found.reason, found.headers, found.ended, found.error) == (
        418,
        "I'm a teapot",
        headers,
        "whole",
        None,
    )
    assert found.pieces == [PlayedPiece(0.5, b"\xff")]


def test_the_same_request_gets_the_answers_in_the_order_in_which_they_were_asked_for():
    playing = player(*(interaction("GET /a", str(at).encode(), at=at) for at in (3.0, 1.0, 2.0)))
    assert [playing.ask(request("GET /a")).pieces[0].data for _ in range(3)] == [b"1.0", b"2.0", b"3.0"]
    with pytest.raises(CassetteMismatch):
        playing.ask(request("GET /a"))


def test_without_times_they_are_in_the_order_of_the_file():
    playing = player(*(interaction("GET /a", str(number).encode()) for number in range(3)))
    assert [playing.ask(request("GET /a")).pieces[0].data for _ in range(3)] == [b"0", b"1", b"2"]


def test_volatile_query_and_members_and_the_order_of_keys_do_not_count(two):
    two.ask(request("GET /a?timestamp=2&n=1"))
    two.ask(request("POST /b", b'{"nonce":2,"m":[1.5],"n":1}'))
    assert two.unplayed() is None


def test_what_is_asked_is_redacted_and_made_canonical_before_it_is_compared():
    playing = player(interaction("GET /a?key=connex-recorded-key"), upstreams={"rest": "https://gateway.example/api"})
    playing.ask(request(f"GET /a?key={KEY}", base="https://gateway.example/api"))
    assert playing.unplayed() is None


def test_each_upstream_has_its_own():
    held = Interaction(HttpRequest("GET", "https://venue.connex.invalid/a", [], b""), 200, "OK", [], b"")
    playing = player(held, upstreams={"rest": HOST, "venue": "https://venue.example"})
    with pytest.raises(CassetteMismatch, match="origin: expected https://venue.connex.invalid:443, actual "):
        playing.ask(request("GET /a"))
    playing.ask(HttpRequest("GET", "https://venue.example/a", [], b""), "venue")


@pytest.mark.parametrize(
    ("asked", "body", "said"),
    [
        ("GET /other", b"", "GET https://rest.connex.invalid/other is not recorded"),
        ("GET /other?n=1&timestamp=1", b"", "path: expected /a, actual /other"),
        ("GET /a?n=2&timestamp=1", b"", "query: n: expected '1', actual '2'"),
        ("GET /a?n=1", b"", "query: timestamp: expected '', actual nothing"),
        ("POST /a?n=1&timestamp=1", b"", "method: expected GET, actual POST"),
        ("POST /b", b'{"n": 2, "m": [1.5], "nonce": 1}', "body: n: expected 1, actual 2"),
        ("POST /b", b'{"n": 1, "m": [1.5], "nonce": 1, "x": 0}', "body: x: expected nothing"),
        ("POST /b", b"\xff", "body: message: expected"),
    ],
)
def test_a_miss_says_what_differs_from_the_closest(two, asked, body, said):
    with pytest.raises(CassetteMismatch) as caught:
        two.ask(request(asked, body))
    assert type(caught.value) is CassetteMismatch
    assert caught.value.path == PATH
    assert said in str(caught.value)
    assert str(caught.value).endswith(AGAIN)


def test_a_miss_lists_what_is_recorded_and_played(two):
    two.ask(request("GET /a?n=1&timestamp=1"))
    with pytest.raises(CassetteMismatch) as caught:
        two.ask(request("GET /a?n=1&timestamp=1"))
    assert str(caught.value) == (
        f"test_y.yaml: GET {HOST}/a?n=1&timestamp=1 is not recorded, or was played already\nrecorded are:"
        f"\n  GET {HOST}/a?n=1&timestamp=1 (played)\n  POST {HOST}/b\n{AGAIN}"
    )


def test_a_miss_does_not_repeat_a_secret(two):
    with pytest.raises(CassetteMismatch) as caught:
        two.ask(request(f"GET /a?key={KEY}&token=abcdef"))
    assert KEY not in str(caught.value)
    assert "abcdef" not in str(caught.value)


def test_a_miss_of_what_looks_made_up_says_what_to_do():
    playing = player(
        interaction("POST /a?ts=1795468855137", body=b'{"ref": "0b5c8f6e-3c44-4d4e-9d2e-2f1d0a4bb001", "n": 1}')
    )
    asked = request("POST /a?ts=1795468899999", b'{"ref": "77aa8f6e-3c44-4d4e-9d2e-2f1d0a4bb002", "n": 1}')
    with pytest.raises(CassetteMismatch) as caught:
        playing.ask(asked)
    hint = 'if ts and ref are made up anew in every run: @pytest.mark.connex(volatile=["ts", "ref"])'
    assert str(caught.value).splitlines()[-2:] == [hint, AGAIN]


@pytest.mark.parametrize(
    "asked",
    [
        request("POST /a?ts=1795468899999&n=1", b'{"n": 1}'),
        request("POST /a?ts=1795468899999", b'{"n": 2}'),
        request("POST /b?ts=1795468899999", b'{"n": 1}'),
    ],
    ids=["another parameter", "a value that is meant", "another path"],
)
def test_a_miss_of_what_is_meant_gives_no_advice(asked):
    with pytest.raises(CassetteMismatch) as caught:
        player(interaction("POST /a?ts=1795468855137", body=b'{"n": 1}')).ask(asked)
    assert "made up" not in str(caught.value)


def test_nothing_recorded_is_missing():
    with pytest.raises(CassetteMissing, match=f"nothing is recorded for GET {HOST}/a\n{AGAIN}"):
        player().ask(request("GET /a"))


def test_a_request_that_cannot_be_looked_into_is_an_error(two):
    with pytest.raises(CassetteError, match="a request body is encoded with br, which cannot be searched"):
        two.ask(request("POST /b", b"\x00", [("Content-Encoding", "br")]))


def test_what_is_left_is_listed_in_order_and_not_endlessly():
    playing = player(*(interaction(f"GET /{number}") for number in range(60)))
    playing.ask(request("GET /0"))
    error = playing.unplayed()
    assert type(error) is CassetteUnplayed
    lines = str(error).splitlines()
    assert lines[1:3] == [f"  GET {HOST}/1", f"  GET {HOST}/2"]
    assert lines[50:] == [f"  GET {HOST}/50", "  and 9 more", AGAIN]


# --- The parts of an answer ----------------------------------------------------------------------------------


def played(**facts: object) -> Played:
    held = {
        "request": request("GET /a"),
        "status": 200,
        "reason": "OK",
        "headers": [],
        "body": b"abcdef",
        "asked": 1.0,
    }
    return player(Interaction(**{**held, "answered": 1.5, **facts})).ask(request("GET /a"))


def test_parts_have_the_times_that_they_had():
    found = played(
        pieces=(Piece(2.0, 2), Piece(3.25, 4)), over=10.0, ended="cut", error="ConnectionResetError", errno=104
    )
    assert found.pieces == [PlayedPiece(2.0, b"ab"), PlayedPiece(3.25, b"cdef")]
    assert [found.at(part) for part in range(-1, 3)] == [1.5, 2.0, 3.25, 10.0]
    assert [found.gap(part) for part in range(-1, 3)] == [0.5, 0.5, 1.25, 6.75]
    assert (found.ended, type(found.error), found.error.errno) == ("cut", ConnectionResetError, 104)


def test_a_body_that_came_with_its_head_is_one_piece():
    found = played()
    assert [found.at(part) for part in range(-1, 2)] == [1.5, 1.5, 1.5]
    assert [found.gap(part) for part in range(-1, 2)] == [0.5, 0.0, 0.0]


def test_without_an_answer_there_is_only_an_end():
    found = played(status=None, answered=None, body=b"", over=4.0, ended="left")
    assert (found.pieces, found.at(-1), found.at(0), found.gap(0)) == ([], None, 4.0, 3.0)


def test_a_body_that_somebody_edited_is_there_whole():
    assert [piece.data for piece in played(pieces=(Piece(2.0, 2), Piece(3.0, 1))).pieces] == [b"ab", b"cdef"]
    short = played(body=b"a", pieces=(Piece(2.0, 2), Piece(3.0, 1)))
    assert b"".join(piece.data for piece in short.pieces) == b"a"


def test_without_times_everything_is_due():
    found = played(asked=None, answered=None)
    assert [found.due(part) for part in range(-1, 2)] == [True] * 3
    assert [found.gap(part) for part in range(-1, 2)] == [0.0] * 3


@pytest.mark.parametrize("count", [400])
def test_a_request_is_looked_up_and_not_compared_with_each(count, monkeypatch):
    playing = player(*(interaction(f"GET /{number}") for number in range(count)))
    keys: list[object] = []
    key = Matching.key
    monkeypatch.setattr(Matching, "key", lambda self, asked: keys.append(asked) or key(self, asked))
    monkeypatch.setattr(Matching, "misses", None)
    for number in reversed(range(count)):
        playing.ask(request(f"GET /{number}"))
    assert len(keys) == count
