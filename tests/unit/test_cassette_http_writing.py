"""What is written of HTTP: what our reader reads is what YAML reads, and what was given; and plain VCR plays it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import vcr
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_connex.cassette import http_file
from pytest_connex.cassette.exchange import HttpRequest, Interaction, Piece
from pytest_connex.cassette.http_file import read_http, read_interactions
from pytest_connex.cassette.http_writing import HttpWriter, encoded, seconds
from pytest_connex.errors import CassetteError, SecretFound
from pytest_connex.secrets.redaction import Redactor

HOST = "https://rest.connex.invalid"
FACTS = {"source": "live", "test": "tests/test_x.py::test_ü"}
SECRET = "s3cr3t-0123456789"

AWKWARD = [
    *("", "a: b", "- c", "%", "'", "null", "1e5", "=", "<<", '"\\/"', " a \t\r\n b ", "\U0001f600", "\ud7ff\ue000"),
    *("\x00\x1b\x7f\x80\x85\x9f", "\u2028 \u2029", "\ufeff\ufffe\uffff"),
    *('"string": !!binary "AAEC"', '"body": !!binary "'),
]
text = st.one_of(st.sampled_from(AWKWARD), st.text(st.characters(exclude_categories=("Cs",)), max_size=20))
names = st.one_of(text, st.sampled_from(["Set-Cookie", "set-cookie", "X" * 1500, "é" * 1020]))
fields = st.lists(st.tuples(names, text), max_size=5)
body = st.one_of(st.binary(max_size=30), text.map(str.encode), st.just(b'\xff"string": !!binary "AA"'))
times = st.integers(0, 10**13).map(lambda ticks: ticks / 1e6)


@st.composite
def interactions(draw: st.DrawFn) -> Interaction:
    content = draw(body)
    request = HttpRequest(draw(text), draw(text), grouped(draw(fields)), draw(body))
    ended = draw(st.sampled_from(["whole", "cut", "left"]))
    pieces = (Piece(draw(times), len(content)),) if draw(st.booleans()) else ()
    over = draw(st.none() | times)
    upstream = draw(st.sampled_from(["rest", "venue"]))
    error, errno = draw(st.sampled_from([("", None), ("ConnectionResetError", 104)]))
    return Interaction(
        request, draw(st.integers(100, 599)), draw(text), draw(fields), content, draw(times), draw(times),
        pieces, over, ended, error, errno, upstream,
    )  # fmt: skip


def grouped(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    order = [name for name, _ in pairs]
    return sorted(pairs, key=lambda pair: order.index(pair[0]))


def write(path: Path, *held: Interaction) -> Path:
    parts = [b"".join(encoded(one)) for one in held]
    writer = HttpWriter(path, Redactor({}), FACTS, len(held), parts)
    writer.finish()
    writer.commit()
    writer.settle()
    return path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test_y.yaml"


@pytest.fixture
def no_yaml(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let nothing but the head be read as YAML."""
    load = yaml.load

    def loaded(text: str, Loader: Any) -> Any:
        assert "\ninteractions:" not in text
        return load(text, Loader)

    with monkeypatch.context() as patch:
        patch.setattr(http_file.yaml, "load", loaded)
        yield


CHECKS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None)


@CHECKS
@given(st.lists(interactions(), min_size=1, max_size=3))
def test_what_is_read_is_what_yaml_reads_and_what_was_given(path, held):
    document = read_http(write(path, *held))
    written = path.read_text("utf-8")
    assert document == yaml.safe_load(written) == yaml.load(written, yaml.CSafeLoader)
    assert read_interactions(path) == held
    assert document["connex"] == {**FACTS, "interactions": len(held), "version": 2}


@CHECKS
@given(st.lists(interactions(), min_size=1, max_size=3))
def test_nothing_is_read_as_yaml_but_the_head(path, no_yaml, held):
    short = [name for one in held for name, _ in one.request.headers + one.headers if len(name) < 1000]
    if len(short) == sum(len(one.request.headers + one.headers) for one in held):
        assert read_interactions(write(path, *held)) == held


@given(st.text(st.characters(), max_size=20))
def test_half_of_a_pair_is_no_text_that_yaml_can_hold(one):
    try:
        written = b"".join(encoded(Interaction(HttpRequest("GET", one, [], b""), 200, "", [], b"", 0.0, 1.0)))
    except UnicodeEncodeError:
        assert any("\ud800" <= character <= "\udfff" for character in one)
    else:
        assert yaml.safe_load(written)[0]["request"]["uri"] == one


@given(st.integers(0, 2**50))
def test_times_are_numbers_in_yaml_too(ticks):
    assert yaml.safe_load(seconds(ticks / 1e6)) == ticks / 1e6


def test_an_interaction_stands_on_three_lines(path):
    request = HttpRequest("POST", f"{HOST}/a", [("X-N", "1"), ("X-N", "2")], b"\xff")
    answer = [("Set-Cookie", "a=1"), ("Date", "now"), ("Set-Cookie", "b=2")]
    pieces = (Piece(0.5, 2), Piece(1.25, 1))
    write(path, Interaction(request, 200, "OK", answer, b"abc", 0.0, 0.25, pieces, 2.0, "cut", upstream="venue"))
    assert path.read_text("utf-8") == (
        "connex:\n  interactions: 1\n  source: live\n  test: tests/test_x.py::test_ü\n  version: 2\ninteractions:\n"
        f'- {{"request": {{"method": "POST", "uri": "{HOST}/a", "headers": {{"X-N": ["1", "2"]}}, '
        '"body": !!binary "/w=="},\n'
        '   "response": {"status": {"code": 200, "message": "OK"}, '
        '"headers": {"Set-Cookie": ["a=1", "b=2"], "Date": ["now"]}, "body": {"string": "abc"}},\n'
        '   "connex": {"asked": 0.0, "answered": 0.25, "upstream": "venue", '
        '"order": ["Set-Cookie", "Date", "Set-Cookie"], "pieces": [[0.5, 2], [1.25, 1]], '
        '"over": 2.0, "ended": "cut"}}\n'
        "version: 1\n"
    )


@pytest.mark.parametrize(("ended", "error"), [("reset", "ConnectionResetError"), ("left", "")])
def test_what_was_not_answered_is_504_for_others_and_nothing_for_us(path, ended, error):
    request = HttpRequest("GET", f"{HOST}/a", [], b"")
    held = Interaction(request, None, "The client gave up", [], b"", 0.0, None, (), 1.0, ended, error)
    assert read_interactions(write(path, held)) == [held]
    assert read_http(path)["interactions"][0]["response"]["status"] == {"code": 504, "message": "The client gave up"}


def test_errors_of_the_system_are_what_they_were():
    def failure(error: str, errno: int | None) -> OSError | None:
        request = HttpRequest("GET", HOST, [], b"")
        return Interaction(request, None, "", [], b"", ended="reset", error=error, errno=errno).failure()

    assert failure("", None) is None
    assert (type(failure("ConnectionResetError", 104)), failure("ConnectionResetError", 104).errno) == (
        ConnectionResetError,
        104,
    )
    assert type(failure("TimeoutError", None)) is TimeoutError
    for unknown in ("gaierror", "print", "ValueError"):
        assert type(failure(unknown, -2)) is ConnectionAbortedError


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ('"asked": 0.0, ', "", "connex: Object missing required field `asked`"),
        ('"ended": "cut"', '"ended": "lost"', "connex: Invalid enum value 'lost' - at `$.ended`"),
        ('"asked": 0.0', '"asked": "now"', "connex: Expected `float`, got `str` - at `$.asked`"),
    ],
)
def test_what_is_ours_is_checked_too(path, good, bad, said):
    request = HttpRequest("GET", f"{HOST}/a", [], b"")
    write(path, Interaction(request, 200, "OK", [], b"abc", 0.0, 0.25, ended="cut"))
    path.write_text(path.read_text().replace(good, bad))
    with pytest.raises(CassetteError) as caught:
        read_interactions(path)
    assert (caught.value.line, str(caught.value).rpartition("lacks ")[2]) == (7, said)


def test_what_somebody_edited_is_read(path):
    request = HttpRequest("GET", f"{HOST}/a", [], b"")
    answer = [("A", "1"), ("B", "2"), ("A", "3")]
    write(path, Interaction(request, 200, "OK", answer, b"abc", 0.0, 0.25))
    path.write_text(
        path.read_text().replace('"A": ["1", "3"]', '"A": ["1"]').replace('"abc"', "edited  # by hand\n  ")
    )
    [held] = read_interactions(path)
    assert (held.headers, held.body) == ([("A", "1"), ("B", "2")], b"edited")


def test_what_the_recording_says_of_itself_is_searched(path):
    writer = HttpWriter(path, Redactor({SECRET: "x"}), {"test": SECRET}, 0, [])
    with pytest.raises(SecretFound):
        writer.finish()
    writer.discard()


def test_a_file_cut_at_any_line_is_refused(path):
    write(path, *(interaction("GET /a", 200, [], b"\xff", number) for number in range(3)))
    lines = path.read_text().splitlines(keepends=True)
    for kept in range(len(lines)):
        path.write_text("".join(lines[:kept]))
        with pytest.raises(CassetteError):
            read_interactions(path)


def test_bodies_longer_than_a_part_are_written_whole(path):
    content = bytes(range(256)) * 5000
    words = "ü ".encode() * 700_000
    request = HttpRequest("GET", f"{HOST}/a", [], words)
    write(path, Interaction(request, 200, "OK", [], content, 0.0, 0.25))
    [held] = read_interactions(path)
    assert (held.request.body, held.body) == (words, content)
    assert base64.b64encode(content) in path.read_bytes()


# --- Plain VCR -------------------------------------------------------------------------------------------


def interaction(asked: str, status: int, headers: list[tuple[str, str]], content: bytes, at: float) -> Interaction:
    method, _, where = asked.partition(" ")
    request = HttpRequest(method, HOST + where, [("Accept", "*/*")], b"")
    return Interaction(request, status, "OK", headers, content, at, at)


def test_plain_vcr_plays_it(path):
    cookies = [("Set-Cookie", "a=1; Path=/"), ("X-N", "1"), ("Set-Cookie", "b=2; Path=/")]
    write(
        path,
        interaction("GET /text", 200, [("Content-Type", "text/plain; charset=utf-8")], "ü\u2028\x7f\x85".encode(), 0),
        interaction("GET /json", 200, [("Content-Type", "application/json")], b'{"price": 1.10}', 1),
        interaction("GET /binary", 200, [], b"\x00\xff\x80", 2),
        interaction("GET /cookies", 200, cookies, b"", 3),
        interaction("HEAD /json", 200, [("Content-Length", "15")], b"", 4),
        interaction("GET /moved", 302, [("Location", "/text"), ("Content-Length", "0")], b"", 5),
        interaction("GET /text", 200, [], b"here", 6),
        interaction("POST /order", 201, [], b"done", 7),
    )  # fmt: skip
    with vcr.use_cassette(str(path), record_mode="none") as cassette:
        assert requests.get(f"{HOST}/text").text == "ü\u2028\x7f\x85"
        assert requests.get(f"{HOST}/json").json() == {"price": 1.10}
        assert requests.get(f"{HOST}/binary").content == b"\x00\xff\x80"
        assert requests.get(f"{HOST}/cookies").cookies.get_dict() == {"a": "1", "b": "2"}
        head = requests.head(f"{HOST}/json")
        assert (head.headers["Content-Length"], head.content) == ("15", b"")
        assert requests.get(f"{HOST}/moved").text == "here"
        assert requests.post(f"{HOST}/order", data=b"\xff").status_code == 201
        assert cassette.all_played
