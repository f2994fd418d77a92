"""HTTP recordings through the real VCR and requests, against a server on this machine."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import vcr
import yaml
from vcr.errors import CannotOverwriteExistingCassetteException

from pytest_connex.cassette.http import HttpRecording
from pytest_connex.cassette.writing import TextWriter
from pytest_connex.config import ConnexConfig, recorded_config
from pytest_connex.errors import CassetteError, CassetteMismatch, CassetteMissing, SecretFound
from pytest_connex.protocol import Dialect
from pytest_connex.secrets.redaction import Redactor

KEY, SECRET = "AKfYcbwXYZ0123456789abcd", "s3cr3t/with+special=chars=="
HOST = "https://rest.connex.invalid"
REDACTOR = Redactor({KEY: "connex-recorded-key", SECRET: "connex-recorded-secret"}, Dialect().secret_fields)
FACTS = {"source": "sandbox", "test": "tests/test_x.py::test_y"}

Answer = tuple[int, dict[str, str], bytes]


class Exchange(BaseHTTPRequestHandler):
    """Answers a path as it is laid down in ``answers``, and any other with ``{}``."""

    answers: dict[str, Answer] = {}

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, headers, body = self.answers.get(self.path.partition("?")[0], (200, {}, b"{}"))
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Answer]:
    laid: dict[str, Answer] = {}
    monkeypatch.setattr(Exchange, "answers", laid)
    return laid


@pytest.fixture
def base() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Exchange) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


class Deck:
    """Records and plays one file."""

    def __init__(self, path: Path, redactor: Redactor = REDACTOR) -> None:
        self.path = path
        self.redactor = redactor
        self.verdicts: list[CassetteError] = []

    @contextmanager
    def _running(self, recording: bool, config: ConnexConfig) -> Iterator[HttpRecording]:
        http = HttpRecording(
            self.path,
            recording,
            FACTS,
            lambda: (config, Dialect(), self.redactor),
            self.verdicts.append,
            "record it again: pytest --again",
        )
        machine = vcr.VCR()
        http.configure(machine)
        with machine.use_cassette("connex", **http.options()) as cassette:
            http.attach(cassette)
            yield http

    @contextmanager
    def recording(self, base: str) -> Iterator[HttpRecording]:
        with self._running(True, ConnexConfig(rest_url=base)) as http:
            yield http
        if http.text is not None:
            self.path.write_text(http.text, "utf-8")

    @contextmanager
    def playing(self) -> Iterator[HttpRecording]:
        with self._running(False, recorded_config()) as http:
            yield http

    @property
    def interactions(self) -> list[dict[str, Any]]:
        return yaml.safe_load(self.path.read_text("utf-8"))["interactions"]


@pytest.fixture
def deck(tmp_path: Path) -> Deck:
    return Deck(tmp_path / "test_y.yaml")


def test_an_exchange_is_recorded_under_the_canonical_host_and_replays(deck, base, answers):
    answers["/v1/status"] = (200, {"Content-Type": "application/json"}, b'{"price": 1.10}')
    with deck.recording(base):
        requests.get(f"{base}/v1/status", headers={"X-CONNEX-API-KEY": KEY})
    [interaction] = deck.interactions
    assert interaction["request"]["uri"] == f"{HOST}/v1/status"
    assert interaction["response"]["body"]["string"] == '{"price": 1.10}'
    assert base.rpartition("/")[2] not in deck.path.read_text()
    with deck.playing() as http:
        response = requests.get(f"{HOST}/v1/status")
    assert (response.status_code, response.text) == (200, '{"price": 1.10}')
    assert (deck.verdicts, http.unplayed()) == ([], None)


def test_the_file_says_what_it_is_and_counts_its_interactions(deck, base):
    with deck.recording(base):
        requests.get(f"{base}/a")
        requests.get(f"{base}/b")
    assert yaml.safe_load(deck.path.read_text())["connex"] == {**FACTS, "interactions": 2}


def test_nothing_is_written_while_the_test_runs(deck, base, tmp_path):
    with deck.recording(base) as http:
        requests.get(f"{base}/a")
    deck.path.unlink()
    assert list(tmp_path.iterdir()) == []
    assert http.text.startswith("connex:\n  interactions: 1\n")


def test_nothing_is_recorded_where_nothing_was_asked(deck, base):
    with deck.recording(base) as http:
        pass
    assert http.text is None


def test_a_path_below_the_base_url_is_canonical(deck, base):
    with deck.recording(f"{base}/gateway"):
        requests.get(f"{base}/gateway/v1/status")
    assert deck.interactions[0]["request"]["uri"] == f"{HOST}/v1/status"


def test_another_host_is_not_recorded(deck, base):
    with deck.recording("https://gateway.example"):
        assert requests.get(f"{base}/a").text == "{}"
    assert not deck.path.exists()


# --- Redaction -------------------------------------------------------------------------------------------


def test_headers_and_query_of_a_request_are_redacted(deck, base):
    headers = {"X-CONNEX-API-KEY": KEY, "X-CONNEX-API-SECRET": SECRET, "Authorization": "Bearer abc", "X-N": "1.10"}
    with deck.recording(base):
        requests.get(
            f"{base}/a", params={"key": KEY, "secret": SECRET, "signature": "00ff", "n": "1"}, headers=headers
        )
    request = deck.interactions[0]["request"]
    assert request["uri"] == (
        f"{HOST}/a?key=connex-recorded-key&secret=connex-recorded-secret&signature=connex-recorded-signature&n=1"
    )
    kept = {name: values for name, values in request["headers"].items() if name.startswith(("X-", "Auth", "Host"))}
    assert kept == {
        "X-CONNEX-API-KEY": ["connex-recorded-key"],
        "X-CONNEX-API-SECRET": ["connex-recorded-secret"],
        "Authorization": ["connex-recorded-authorization"],
        "X-N": ["1.10"],
    }


def test_headers_of_bytes_are_redacted(deck, base):
    with deck.recording(base):
        requests.get(f"{base}/a", headers=Dialect().rest_headers(KEY, SECRET))
    text = deck.path.read_text()
    assert KEY not in text
    assert SECRET not in text


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_headers_beyond_ascii_are_redacted(tmp_path, base, encoding):
    deck = Deck(tmp_path / "test_y.yaml", Redactor({"schlüssel-öä": "connex-recorded-key"}))
    with deck.recording(base):
        requests.get(f"{base}/a", headers={"X-CONNEX-API-KEY": "schlüssel-öä".encode(encoding)})
    assert deck.interactions[0]["request"]["headers"]["X-CONNEX-API-KEY"] == ["connex-recorded-key"]


def test_an_echo_of_a_header_that_was_read_as_latin_1_is_redacted(tmp_path, base, answers):
    deck = Deck(tmp_path / "test_y.yaml", Redactor({"schlüssel-öä": "connex-recorded-key"}))
    answers["/a"] = (200, {"X-Echo": "schlüssel-öä".encode().decode("latin-1")}, b"")
    with deck.recording(base):
        requests.get(f"{base}/a")
    assert deck.interactions[0]["response"]["headers"]["X-Echo"] == ["connex-recorded-key"]


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda body: zlib.compress(body, wbits=-15)])
def test_a_compressed_body_without_its_header_is_not_written(deck, base, answers, pack):
    """YAML breaks its base64 into lines, none of which tells anything."""
    padding = " ".join(str(number * 7919 % 1000003) for number in range(400))
    answers["/a"] = (200, {"Content-Type": "application/octet-stream"}, pack(f"{padding} {SECRET}".encode()))
    with deck.recording(base) as http:
        requests.get(f"{base}/a")
    writer = TextWriter(deck.path, http.text, REDACTOR)
    with pytest.raises(SecretFound):
        writer.finish()
    writer.discard()


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_the_body_of_a_request_is_redacted_whatever_its_encoding(deck, base, encoding):
    body = f'{{"key": "{KEY}", "token": "abc", "n": 1.10}}'.encode()
    encoded = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding](body)
    headers = {"Content-Encoding": encoding} if encoding else {}
    with deck.recording(base):
        requests.post(f"{base}/a", data=encoded, headers=headers)
    request = deck.interactions[0]["request"]
    assert request["body"] == '{"key": "connex-recorded-key", "token": "connex-recorded-token", "n": 1.10}'
    assert "Content-Encoding" not in request["headers"]


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate"])
def test_the_body_of_an_answer_is_redacted_whatever_its_encoding(deck, base, answers, encoding):
    body = f'{{"echo": "{SECRET}", "listenKey": "abc", "n": 1.10}}'.encode()
    encoded = {"": bytes, "gzip": gzip.compress, "deflate": zlib.compress}[encoding](body)
    answers["/a"] = (200, {"Content-Encoding": encoding} if encoding else {}, encoded)
    with deck.recording(base):
        assert requests.get(f"{base}/a").content == body
    response = deck.interactions[0]["response"]
    redacted = '{"echo": "connex-recorded-secret", "listenKey": "connex-recorded-listenkey", "n": 1.10}'
    assert response["body"]["string"] == redacted
    lengths = [values for name, values in response["headers"].items() if name.lower() == "content-length"]
    assert lengths == [[str(len(redacted))]]


def test_headers_of_an_answer_are_redacted(deck, base, answers):
    answers["/a"] = (200, {"Set-Cookie": "session=abc", "X-Echo": KEY, "X-N": "1.10"}, b"")
    with deck.recording(base):
        requests.get(f"{base}/a")
    headers = deck.interactions[0]["response"]["headers"]
    assert (headers["Set-Cookie"], headers["X-Echo"], headers["X-N"]) == (
        ["connex-recorded-set-cookie"],
        ["connex-recorded-key"],
        ["1.10"],
    )


def test_an_encoding_that_cannot_be_searched_is_refused(deck, base, answers):
    answers["/a"] = (200, {"Content-Encoding": "br"}, b"\x00\x01")
    with pytest.raises(CassetteError, match="the answer is encoded with \\['br'\\], which cannot be searched"):
        with deck.recording(base):
            requests.get(f"{base}/a", stream=True)


@pytest.mark.parametrize(
    ("encoding", "said"), [("zstd", "encoded with zstd, which cannot be searched"), ("gzip", "is not gzip")]
)
def test_a_request_body_that_cannot_be_searched_is_refused(deck, base, encoding, said):
    with pytest.raises(CassetteError, match=said):
        with deck.recording(base):
            requests.post(f"{base}/a", data=b"\x00", headers={"Content-Encoding": encoding})


def test_a_refusal_is_told_even_when_the_client_swallows_it(deck, base, answers):
    answers["/a"] = (200, {"Content-Encoding": "br"}, b"\x00\x01")
    with deck.recording(base):
        for ask in (
            lambda: requests.get(f"{base}/a", stream=True),
            lambda: requests.post(f"{base}/b", data=b"\x00", headers={"Content-Encoding": "br"}),
        ):
            with suppress(Exception):
                ask()
    answer, request = deck.verdicts
    assert "the answer is encoded with ['br']" in str(answer)
    assert "a request body is encoded with br" in str(request)


@pytest.mark.parametrize("location", ["{base}/b", "/b"])
def test_a_redirect_is_recorded_without_the_host_and_replays(deck, base, answers, location):
    answers["/a"] = (302, {"Location": location.format(base=base)}, b"")
    answers["/b"] = (200, {}, b"here")
    with deck.recording(base):
        assert requests.get(f"{base}/a").text == "here"
    assert deck.interactions[0]["response"]["headers"]["Location"] in ([f"{HOST}/b"], ["/b"])
    assert "127.0.0.1" not in deck.path.read_text()
    with deck.playing() as http:
        assert requests.get(f"{HOST}/a").text == "here"
    assert (deck.verdicts, http.unplayed()) == ([], None)


# --- Playing ---------------------------------------------------------------------------------------------


@pytest.fixture
def recorded(deck: Deck, base: str) -> Deck:
    with deck.recording(base):
        requests.get(f"{base}/a?n=1&timestamp=1")
        requests.post(f"{base}/b", json={"n": 1, "m": [1.5], "nonce": 1})
    return deck


def swallow(ask: Callable[[], object]) -> None:
    with pytest.raises(CannotOverwriteExistingCassetteException):
        ask()


def test_volatile_query_and_members_and_the_order_of_keys_do_not_count(recorded):
    with recorded.playing() as http:
        requests.get(f"{HOST}/a?timestamp=2&n=1")
        requests.post(f"{HOST}/b", data='{"nonce":2,"m":[1.5],"n":1}')
    assert (recorded.verdicts, http.unplayed()) == ([], None)


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda: requests.get(f"{HOST}/other"), "GET https://rest.connex.invalid/other is not recorded"),
        (lambda: requests.get(f"{HOST}/a?n=2&timestamp=1"), "query: expected"),
        (lambda: requests.get(f"{HOST}/a?n=1"), "query: expected"),
        (lambda: requests.post(f"{HOST}/a?n=1&timestamp=1"), "method: POST != GET"),
        (lambda: requests.post(f"{HOST}/b", json={"n": 2, "m": [1.5], "nonce": 1}), "n: expected 1, actual 2"),
        (lambda: requests.post(f"{HOST}/b", json={"n": 1, "m": [1.50], "nonce": 1, "x": 0}), "x: expected nothing"),
        (lambda: requests.post(f"{HOST}/b", json={"n": 1, "m": [1.5], "nonce": 1, "id": 1}), "id: expected nothing"),
        (lambda: requests.post(f"{HOST}/b", data=b"\xff"), "message: expected"),
    ],
)
def test_a_miss_is_told_even_when_the_client_swallows_it(recorded, ask, said):
    with recorded.playing():
        swallow(ask)
    [verdict] = recorded.verdicts
    assert type(verdict) is CassetteMismatch
    assert verdict.path == recorded.path
    assert said in str(verdict)
    assert str(verdict).endswith("record it again: pytest --again")


def test_a_miss_lists_what_is_recorded_and_played(recorded):
    with recorded.playing():
        requests.get(f"{HOST}/a?n=1&timestamp=1")
        swallow(lambda: requests.get(f"{HOST}/a?n=1&timestamp=1"))
    text = str(recorded.verdicts[0])
    assert f"\n  GET {HOST}/a?n=1&timestamp=1 (played)\n  POST {HOST}/b\n" in text
    assert "is not recorded, or was played already" in text


def test_a_miss_does_not_repeat_a_secret(recorded):
    with recorded.playing():
        swallow(lambda: requests.get(f"{HOST}/a", params={"key": KEY, "token": "abcdef"}))
    text = str(recorded.verdicts[0])
    assert "connex-recorded-key" in text
    assert KEY not in text
    assert "abcdef" not in text


def test_a_request_without_a_recording_is_missing(deck):
    with deck.playing() as http:
        swallow(lambda: requests.get(f"{HOST}/a"))
    [verdict] = deck.verdicts
    assert type(verdict) is CassetteMissing
    assert str(verdict) == f"{deck.path}: nothing is recorded for GET {HOST}/a\nrecord it again: pytest --again"
    assert http.unplayed() is None


def test_what_was_never_played_is_unplayed(recorded):
    with recorded.playing() as http:
        requests.get(f"{HOST}/a?n=1&timestamp=1")
    assert str(http.unplayed()) == (
        f"{recorded.path}: the test left a part of its recording unused:\n  POST {HOST}/b\n"
        "record it again: pytest --again"
    )


def test_a_recording_never_looked_at_is_no_concern(deck):
    http = HttpRecording(deck.path, False, {}, lambda: None, deck.verdicts.append, "")
    http.attach(None)
    assert http.unplayed() is None


def test_playing_leaves_the_file_as_it_was(recorded):
    before = recorded.path.read_bytes()
    with recorded.playing():
        requests.get(f"{HOST}/a?n=1&timestamp=1")
        swallow(lambda: requests.get(f"{HOST}/other"))
    assert recorded.path.read_bytes() == before


# --- Files that cannot be read -----------------------------------------------------------------------------


INTERACTION = (
    "{request: {method: GET, uri: /, headers: {}, body: null}, "
    "response: {status: {code: 200}, headers: {}, body: {string: ''}}}"
)


def refusal(deck: Deck) -> CassetteError:
    with pytest.raises(CassetteError) as caught:
        with deck.playing():
            pass
    assert caught.value.path == deck.path
    return caught.value


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "it has no interactions"),
        ("garbage", 1, "it has no interactions"),
        ("[]", 1, "it has no interactions"),
        ("interactions: 5\n", 1, "it has no interactions"),
        ("a: 1\nb: [1,\nc: 'x\n", 4, "not YAML"),
        ("a: 1\n\tb: 2\n", 2, "not YAML"),
        ("interactions:\n- 5\n", 2, "an interaction lacks request"),
        ("interactions:\n- request: {}\n", 2, "an interaction lacks request.method"),
        (f"interactions:\n- {INTERACTION}\n\n- request: {{}}\n", 4, "an interaction lacks request.method"),
        (f"interactions:\n- {INTERACTION.replace('200', 'OK')}\n", 2, "lacks response.status.code"),
        (f"interactions:\n- {INTERACTION.replace('string', 'text')}\n", 2, "lacks response.body.string"),
        (f"interactions:\n- {INTERACTION}\n", 2, "its last line must be the version"),
        ("connex:\n  interactions: 2\ninteractions: []\n", 3, "it counts 2 interactions, found 0"),
    ],
)
def test_a_file_that_is_no_recording_is_refused_with_its_line(deck, text, line, said):
    deck.path.write_text(text)
    error = refusal(deck)
    assert (error.line, said in str(error)) == (line, True)


def test_a_file_cut_at_any_line_is_refused(recorded):
    lines = recorded.path.read_text().splitlines(keepends=True)
    for kept in range(len(lines)):
        recorded.path.write_text("".join(lines[:kept]))
        refusal(recorded)


def test_a_file_that_is_not_utf_8_or_a_folder_is_refused(deck):
    deck.path.write_bytes(b"\xff\xfe")
    assert "the recording cannot be read: " in str(refusal(deck))
    deck.path.unlink()
    deck.path.mkdir()
    assert "the recording cannot be read: " in str(refusal(deck))
