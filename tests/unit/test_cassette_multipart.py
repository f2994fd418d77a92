"""Bodies with parts, compared part by part."""

from __future__ import annotations

import pytest
import requests

from pytest_connex.cassette.exchange import HttpRequest
from pytest_connex.cassette.http_matching import Matching
from pytest_connex.cassette.multipart import parts_of

MATCHING = Matching((), ("ref", "order.ts"))
FILES = {
    "ref": (None, "1"),
    "order": (None, '{"ts": 1, "px": 1.10}', "application/json"),
    "doc": ("a.bin", b"\xff\x00"),
}


def post(**changed) -> HttpRequest:
    prepared = requests.Request("POST", "https://rest.connex.invalid/v1/x", files=FILES | changed).prepare()
    return HttpRequest("POST", prepared.url, list(prepared.headers.items()), prepared.body)


def test_the_parts_are_read_with_their_names():
    assert parts_of(post()).document == [
        {"ref": ("1",)},
        {"order": {"ts": ("1",), "px": ("1.10",)}},
        {"doc": "bytes ff00"},
    ]


@pytest.mark.parametrize(
    "changed",
    [{}, {"ref": (None, "another one")}, {"order": (None, '{"px":1.10,"ts":2}', "application/json")}],
)
def test_what_may_differ_does_not_count(changed):
    assert MATCHING.misses(post(), post(**changed)) == []
    assert MATCHING.key(post()) == MATCHING.key(post(**changed))


@pytest.mark.parametrize(
    ("changed", "detail"),
    [
        ({"order": (None, '{"ts": 1, "px": 1.2}', "application/json")}, "1.order.px: expected 1.10, actual 1.2"),
        ({"doc": ("a.bin", b"\xff\x01")}, "2.doc: expected 'bytes ff00', actual 'bytes ff01'"),
    ],
)
def test_what_differs_is_told_by_its_path(changed, detail):
    assert [str(miss) for miss in MATCHING.misses(post(), post(**changed))] == [f"body: {detail}"]
    assert MATCHING.key(post()) != MATCHING.key(post(**changed))


@pytest.mark.parametrize(
    "changed", [{"doc": ("b.bin", b"\xff\x00")}, {"doc": (None, b"\xff\x00")}, {"more": (None, "1")}]
)
def test_other_parts_or_other_files_differ(changed):
    assert MATCHING.misses(post(), post(**changed)) != []
    assert MATCHING.key(post()) != MATCHING.key(post(**changed))


def test_what_has_no_end_is_compared_to_the_byte():
    whole = post()
    cut = HttpRequest(whole.method, whole.url, whole.headers, whole.body[:-6])
    assert parts_of(cut) is None
    assert MATCHING.misses(cut, cut) == []
    assert MATCHING.misses(whole, cut) != []


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "application/json"])
def test_json_is_json_whatever_its_content_type_says(kind):
    def request(body: bytes) -> HttpRequest:
        return HttpRequest("POST", "https://rest.connex.invalid/v1/x", [("Content-Type", kind)], body)

    assert MATCHING.misses(request(b'{"ref": 1, "n": 2}'), request(b'{"n":2,"ref":7}')) == []
    [miss] = MATCHING.misses(request(b'{"ref": 1, "n": 2}'), request(b'{"n":3,"ref":7}'))
    assert str(miss) == "body: n: expected 2, actual 3"
