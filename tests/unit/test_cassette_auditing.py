"""Finding secrets in recordings by what they mean, however YAML writes it, and without knowing any value."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path

import pytest
import yaml

from pytest_connex.cassette.auditing import audit
from pytest_connex.cassette.events import Closed, Dial, Event, Open, Received, Rejected, Sent
from pytest_connex.errors import CassetteError, SecretFound
from pytest_connex.protocol import Dialect
from pytest_connex.secrets.learning import redactor_for

from .conftest import Tape, write_tape

SECRET = "s3cr3t with spaces and a lot of words in it so that it is folded 0123456789"
TOKEN = "4f0a9a526b0f1e8d3c77aa"
URL = "wss://ws.connex.invalid/ws"


@pytest.fixture
def redactor():
    return redactor_for(Dialect(), {SECRET: "connex-recorded-secret"})


def written(path: Path, *events: Event) -> Path:
    tape = Tape()
    tape.events = [*events]
    return write_tape(path, tape)


def http(path: Path, width: int = 60, style: str | None = None, **changed: object) -> Path:
    """Write a recording as plain VCR.py does, with some of it changed."""
    request = {"method": "GET", "uri": "https://rest.connex.invalid/v1/x", "headers": {}, "body": None}
    response = {"status": {"code": 200, "message": "OK"}, "headers": {}, "body": {"string": "{}"}}
    for name, value in changed.items():
        where, _, member = name.partition("_")
        {"request": request, "response": response}[where][member] = value
    document = {"interactions": [{"request": request, "response": response}], "version": 1}
    path.write_text(yaml.safe_dump(document, width=width, default_style=style), "utf-8")
    return path


HTTP_WITH_A_SECRET = {
    "folded": {"response_body": {"string": "and so on " * 9 + SECRET}},
    "folded in a header": {"response_headers": {"X-Note": ["and so on " * 9 + SECRET]}},
    "binary": {"response_body": {"string": b"\x00\xff" + SECRET.encode()}},
    "compressed": {
        "response_body": {"string": gzip.compress(json.dumps({"token": TOKEN}).encode())},
        "response_headers": {"Content-Encoding": ["gzip"]},
    },
    "a member in bytes": {"response_body": {"string": b'\xff{"token": "' + TOKEN.encode() + b'"}'}},
    "a member in a folded text": {"response_body": {"string": "{" + " " * 80 + '"token":\n\n"' + TOKEN + '"}'}},
    "a secret header": {"request_headers": {"X-CONNEX-API-KEY": ["anything at all"]}},
    "an authorization": {"request_headers": {"Authorization": [f"Bearer {TOKEN}"]}},
    "a cookie": {"request_headers": {"Cookie": [f"theme=connex-recorded-theme; session={TOKEN}"]}},
    "a cookie that is set": {"response_headers": {"Set-Cookie": [f"session={TOKEN}; Path=/"]}},
    "a parameter": {"request_uri": f"https://rest.connex.invalid/v1/x?listenKey={TOKEN}"},
    "a form": {"request_body": f"n=1&token={TOKEN}"},
    "a number": {"request_body": '{"token": 123456}'},
}


@pytest.mark.parametrize("style", [None, '"', "'", ">", "|"])
@pytest.mark.parametrize("changed", HTTP_WITH_A_SECRET.values(), ids=HTTP_WITH_A_SECRET)
def test_a_secret_in_http_is_found_however_yaml_writes_it(tmp_path, redactor, changed, style):
    path = http(tmp_path / "x.yaml", style=style, **changed)
    with pytest.raises(SecretFound) as caught:
        audit(path, redactor)
    assert caught.value.path == path
    assert SECRET not in str(caught.value)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"response_headers": {"Set-Cookie": ["session=connex-recorded-session-2; Path=/"], "Content-Type": ["a/b"]}},
        {"request_headers": {"Authorization": ["Bearer connex-recorded-authorization"], "Accept": ["*/*"]}},
        {"response_body": {"string": b'\xff{"token": "connex-recorded-token-2---"}'}},
        {"response_body": {"string": b'\xff{"token": "connex-reco"}'}},
        {"response_body": {"string": "no gzip"}, "response_headers": {"Content-Encoding": ["gzip"]}},
        {"request_body": '{"token": 0, "passphrase": "connex-recorded-passphrase"}'},
    ],
)
def test_what_has_been_replaced_passes(tmp_path, redactor, changed):
    audit(http(tmp_path / "x.yaml", **changed), redactor)


def test_what_cannot_be_looked_into_is_told(tmp_path, redactor):
    path = http(tmp_path / "x.yaml", response_headers={"Content-Encoding": ["br"]})
    with pytest.raises(CassetteError, match="encoded with br, which cannot be searched for secrets"):
        audit(path, redactor)


def test_an_alias_is_looked_at_once(tmp_path, redactor):
    deep = "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60))
    path = http(tmp_path / "x.yaml")
    path.write_text(deep + path.read_text("utf-8"), "utf-8")
    audit(path, redactor)


MESSAGES_WITH_A_SECRET = {
    "binary": [Open(1, 0.1), Received(1, 0.2, None, b"\x82\xff" + SECRET.encode())],
    "a member in bytes": [Open(1, 0.1), Received(1, 0.2, None, b'\x82{"listenKey":"' + TOKEN.encode() + b'"}\xff')],
    "sent in bytes": [Open(1, 0.1), Sent(1, 0.2, None, b'\x82{"token":"' + TOKEN.encode() + b'"}\xff')],
    "a member in text": [Open(1, 0.1), Received(1, 0.2, '{"data": "{\\"token\\": \\"' + TOKEN + '\\"}"}')],
    "a cookie": [Open(1, 0.1, headers={"Set-Cookie": [f"a={TOKEN}", "b=connex-recorded-b"]})],
    "a rejection": [Rejected(1, 0.1, 403, binary=b'\xff{"token":"' + TOKEN.encode() + b'"}')],
    "echoed": [
        Open(1, 0.1),
        Sent(1, 0.2, f'{{"subscribe": "{TOKEN}"}}'),
        Received(1, 0.3, None, b'\xff{"token":"' + TOKEN.encode() + b'"}'),
    ],
}


@pytest.mark.parametrize("events", MESSAGES_WITH_A_SECRET.values(), ids=MESSAGES_WITH_A_SECRET)
def test_a_secret_in_messages_is_found_with_its_line(tmp_path, redactor, events):
    closed = [] if type(events[0]) is Rejected else [Closed(1, 0.4, "client", 1000)]
    path = written(tmp_path / "x.ws.jsonl", Dial(1, 0.0, URL), *events, *closed)
    with pytest.raises(SecretFound) as caught:
        audit(path, redactor)
    assert caught.value.line == 2 + len(events)
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    "headers", [{"Authorization": f"Bearer {TOKEN}"}, {"Cookie": f"a={TOKEN}"}, {"X-CONNEX-API-SECRET": "x"}]
)
def test_a_secret_header_of_a_dial_is_found(tmp_path, redactor, headers):
    events = Dial(1, 0.0, URL, headers=headers), Open(1, 0.1), Closed(1, 0.4, "client", 1000)
    path = written(tmp_path / "x.ws.jsonl", *events)
    with pytest.raises(SecretFound, match=f"the header {next(iter(headers))} of a dial holds a value") as caught:
        audit(path, redactor)
    assert caught.value.line == 2


def test_base64_that_only_looks_random_passes(tmp_path, redactor):
    events = Open(1, 0.1), Received(1, 0.2, None, base64.b64decode("c2VjcmV0" * 9)), Closed(1, 0.4, "client", 1000)
    audit(written(tmp_path / "x.ws.jsonl", Dial(1, 0.0, URL), *events), redactor)
