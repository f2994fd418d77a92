"""A secret in any spelling at any place: the recording holds none and can be played, or there is none.

Every place has its turn with a third of the spellings; with ``--hypothesis-profile=thorough`` with all of them. What
came of them is printed (``-s``).
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import settings

from pytest_connex.cassette.auditing import audit
from pytest_connex.cassette.exchange import HttpRequest
from pytest_connex.cassette.http_matching import Matching
from pytest_connex.cassette.http_player import HttpRules
from pytest_connex.cassette.http_recorder import HttpRecorder
from pytest_connex.cassette.playback import Rules
from pytest_connex.cassette.proof import Proof
from pytest_connex.cassette.recorder import Recorder
from pytest_connex.cassette.stamps import TapeClock
from pytest_connex.cassette.writing import CassetteWriter, Writer, put_in_place
from pytest_connex.errors import CassetteError
from pytest_connex.protocol import Dialect
from pytest_connex.secrets.learning import redactor_for

from .conftest import HEADER

LIVE, WS = "https://rest.connex.invalid", "wss://ws.connex.invalid/ws"

SECRETS = (
    "AKfYcbwXYZ0123456789abcd",
    "4f0a9a526b0f1e8d3c77aa00112233ff",
    "0b4f0a9a-526b-4c1e-8d3c-77aa00112233",
    "12345678901234567890",
    "s3cr3t/with+special=chars==",
    "kQH5HW/8p1uGOVjbgWA7FunAmGO8lsSUXNsu3eow76sz84Q18fWxnyRzBHCd3pd5nE9qa99HAZtuZuj6F1huXg==",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "correct horse battery staple",
    "a\"quote&<tag>'%41\\n",
    "schlüssel-für-straße",
    "秘密の鍵はここにある",
    "emoji-😀-key-😀-0123",
    "ABCDEFGH",
)


def unicode_escaped(text: str) -> str:
    units = text.encode("utf-16-be").hex()
    return "".join(f"\\u{units[index : index + 4]}" for index in range(0, len(units), 4))


ONCE: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda text: quote(text, safe=""),
    "every byte in percent": lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    "form": quote_plus,
    "JSON": lambda text: json.dumps(text)[1:-1],
    "JSON, not ASCII": lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    "JSON with escaped slashes": lambda text: json.dumps(text)[1:-1].replace("/", "\\/"),
    "JSON, all escaped": unicode_escaped,
    "Python": lambda text: ascii(text)[1:-1],
    "HTML": html.escape,
    "HTML, all in numbers": lambda text: "".join(f"&#{ord(character)};" for character in text),
    "hexadecimal": lambda text: text.encode().hex(),
    "hexadecimal with colons": lambda text: text.encode().hex(":").upper(),
    "base64": lambda text: base64.b64encode(text.encode()).decode(),
    "base64 behind a user": lambda text: base64.urlsafe_b64encode(f"user:{text}".encode()).decode(),
}
SPELLINGS: dict[str, Callable[[str], str]] = {
    f"{inner}, in {outer}" if outer != "plain" else inner: lambda text, one=one, two=two: two(one(text))
    for (inner, one), (outer, two) in product(ONCE.items(), ONCE.items())
    if inner != "plain" or outer == "plain"
}


class Studio:
    """Records one conversation, and proves and audits it."""

    def __init__(self, folder: Path) -> None:
        self.redactor = redactor_for(Dialect(), dict.fromkeys(SECRETS, "connex-recorded-value"))
        self._clock = TapeClock(lambda: 0.0)
        self._files = folder / "test_y.ws.jsonl", folder / "test_y.yaml"
        self._writer = CassetteWriter(self._files[0], HEADER, self.redactor)
        self.recorder = Recorder(
            self._writer.write, self._writer.write_messages, self.redactor, lambda url: url, self._clock
        )
        self._problems: list[CassetteError] = []
        self.http = HttpRecorder(self._files[1], self.redactor, {"rest": LIVE}, self._clock, self._problems.append)

    def talk(
        self,
        path: str = "/ws",
        headers: list[tuple[str, str]] = [],  # noqa: B006, nobody changes it
        subprotocol: str = "v1",
        sent: str | bytes = "{}",
        received: str | bytes = "{}",
        reason: str = "",
    ) -> None:
        conn = self.recorder.dial(0.0, f"wss://ws.connex.invalid{path}", [subprotocol], headers)
        self.recorder.opened(conn, 0.0, subprotocol, dict(headers))
        self.recorder.sent(conn, 0.0, sent)
        self.recorder.received(conn, 0.0, received)
        self.recorder.closed(conn, 0.0, "server", 4001, reason)

    def ask(
        self,
        target: str = "/v1/x",
        headers: list[tuple[str, str]] = [],  # noqa: B006, nobody changes it
        body: bytes = b"",
        reason: str = "OK",
        answer: bytes = b"{}",
    ) -> None:
        conversation = self.http.asked(HttpRequest("POST", LIVE + target, headers, body))
        conversation.answered(200, reason, headers)
        conversation.piece(answer)
        conversation.ended("whole")

    def commit(self) -> list[Path]:
        """Put the files in their places, once each request and each message has found itself again."""
        writers: list[Writer] = [self._writer]
        try:
            self.recorder.finish()
            self.http.finish()
            for problem in self._problems:
                raise problem
            if (http := self.http.writer({"test": "test_y"})) is not None:
                writers.append(http)
            for writer in writers:
                writer.finish()
            proof = Proof(Rules((), self.redactor), HttpRules(Matching((), ()), self.redactor, {"rest": LIVE}))
            proof.messages(self._writer.finished, self._files[0], self.recorder.passed)
            if http is not None:
                proof.requests(http.finished, self._files[1], self.http.passed)
            proof.check()
            put_in_place(writers, [])
        finally:
            for writer in writers[1:]:
                writer.discard()
            self.discard()
        return [writer.path for writer in writers]

    def discard(self) -> None:
        """Leave nothing but what is in its place."""
        self._writer.discard()
        self.http.close()


class Place(NamedTuple):
    """Where a secret is put.

    Attributes:
        put: Has a conversation with it there.
        holds: What cannot stand there is left out.
    """

    put: Callable[[Studio, str], None]
    holds: Callable[[str], bool] = lambda text: True


def is_in_urls(text: str) -> bool:
    return text.isascii() and not {*' "<>\\?#&'} & {*text}


def is_in_headers(text: str) -> bool:
    return text.isascii() and text.isprintable()


def is_in_json(text: str) -> bool:
    try:
        json.loads(f'"{text}"')
    except ValueError:
        return False
    return True


def is_a_reason(text: str) -> bool:
    return len(text.encode()) <= 123


MULTIPART = [("Content-Type", "multipart/form-data; boundary=xyz")]
PLACES = {
    "the path of a URL": Place(lambda studio, text: studio.ask(f"/v1/{text}/x"), is_in_urls),
    "a query": Place(lambda studio, text: studio.ask(f"/v1/x?a=1&key={text}&b=2"), is_in_urls),
    "the value of a header": Place(lambda studio, text: studio.ask(headers=[("X-Key", text)]), is_in_headers),
    "the name of a header": Place(lambda studio, text: studio.ask(headers=[(f"X-{text}", "1")]), str.isalnum),
    "a cookie": Place(lambda studio, text: studio.ask(headers=[("Set-Cookie", f"a={text}; Path=/")]), is_in_headers),
    "a form": Place(
        lambda studio, text: studio.ask(
            headers=[("Content-Type", "application/x-www-form-urlencoded")], body=f"a=1&key={text}".encode()
        )
    ),
    "a part of a form": Place(
        lambda studio, text: studio.ask(
            headers=MULTIPART,
            body=f'--xyz\r\nContent-Disposition: form-data; name="key"\r\n\r\n{text}\r\n--xyz--\r\n'.encode(),
        )
    ),
    "a member that is asked": Place(
        lambda studio, text: studio.ask(body=f'{{"key": "{text}"}}'.encode()), is_in_json
    ),
    "a member that is answered": Place(
        lambda studio, text: studio.ask(answer=f'{{"a": 1.10, "key": "{text}"}}'.encode()), is_in_json
    ),
    "a list": Place(lambda studio, text: studio.ask(answer=f'{{"keys": [1.10, "{text}"]}}'.encode()), is_in_json),
    "a secret member": Place(lambda studio, text: studio.ask(answer=f'{{"token": "{text}"}}'.encode()), is_in_json),
    "a page": Place(lambda studio, text: studio.ask(answer=f"<p>Not yours:\n{text}</p>".encode())),
    "an answer in bytes": Place(lambda studio, text: studio.ask(answer=b"\xff\xfe" + text.encode() + b"\x00")),
    "a compressed answer": Place(lambda studio, text: studio.ask(answer=gzip.compress(f"[{text}]".encode()))),
    "the reason of a status": Place(lambda studio, text: studio.ask(reason=f"No {text}"), is_in_headers),
    "the path of a dial": Place(lambda studio, text: studio.talk(path=f"/ws/{text}"), is_in_urls),
    "the query of a dial": Place(lambda studio, text: studio.talk(path=f"/ws?streams={text}&a=1"), is_in_urls),
    "a header of a dial": Place(lambda studio, text: studio.talk(headers=[("X-Key", text)]), is_in_headers),
    "a subprotocol": Place(lambda studio, text: studio.talk(subprotocol=text), str.isalnum),
    "a text that is sent": Place(lambda studio, text: studio.talk(sent=f"login {text} now")),
    "a text that is received": Place(lambda studio, text: studio.talk(received=f"login {text} now")),
    "a message that is sent": Place(lambda studio, text: studio.talk(sent=f'{{"args": ["{text}"]}}'), is_in_json),
    "a message in bytes": Place(lambda studio, text: studio.talk(received=b"\x82\xff" + text.encode() + b"\x00")),
    "a compressed message": Place(
        lambda studio, text: studio.talk(received=zlib.compress(f'{{"args": ["{text}"]}}'.encode())), is_in_json
    ),
    "the reason of a close": Place(lambda studio, text: studio.talk(reason=text), is_a_reason),
}


def left_in(files: list[Path], secret: str, spelled: str) -> list[str]:
    """Return how files still hold a secret: as it is, as it was written, or as either of them is written in JSON."""
    held = b"".join(path.read_bytes() for path in files)
    known = {secret, spelled, json.dumps(secret)[1:-1], json.dumps(spelled, ensure_ascii=False)[1:-1]}
    return [text for text in known if text.encode() in held]


@pytest.mark.parametrize("place", PLACES)
def test_a_recording_holds_no_secret_or_is_refused(tmp_path, place):
    came: Counter[str] = Counter()
    turn = list(PLACES).index(place)
    every = 1 if settings.get_current_profile_name() == "thorough" else 3
    for number, spelling in list(enumerate(SPELLINGS))[turn % every :: every]:
        secret = SECRETS[(number + turn) % len(SECRETS)]
        spelled = SPELLINGS[spelling](secret)
        if not PLACES[place].holds(spelled):
            came["cannot stand there"] += 1
            continue
        folder = tmp_path / str(number)
        studio = Studio(folder)
        try:
            PLACES[place].put(studio, spelled)
            files = studio.commit()
        except CassetteError as exc:
            assert "secret" in str(exc), (spelling, secret)
            studio.discard()
            assert not (folder.exists() and list(folder.iterdir()))
            came["refused"] += 1
            continue
        assert left_in(files, secret, spelled) == [], (spelling, secret)
        for path in files:
            audit(path, studio.redactor)
        came["recorded without it"] += 1
    print(f"{place}: {dict(came)}")
    assert came["recorded without it"] + came["refused"] > 0
    assert came.total() >= 200 // every
