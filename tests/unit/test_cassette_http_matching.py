"""Which requests are the same, and what differs where they are not."""

from __future__ import annotations

import pytest

from pytest_connex.cassette.exchange import HttpRequest
from pytest_connex.cassette.http_matching import Matching

MATCHING = Matching(("timestamp",), ("id", "file.nonce"))
URL = "https://rest.connex.invalid/orders"


def request(
    body: bytes = b"", url: str = URL, method: str = "POST", headers: tuple[tuple[str, str], ...] = ()
) -> HttpRequest:
    return HttpRequest(method, url, list(headers), body)


def parts(boundary: str, *contents: bytes, kind: str = "multipart/form-data", quoted: bool = False) -> HttpRequest:
    """A request whose body has parts."""
    separator = boundary.encode()
    body = b"".join(b"--" + separator + b"\r\n\r\n" + content + b"\r\n" for content in contents)
    named = f'"{boundary}"' if quoted else boundary
    return request(body + b"--" + separator + b"--\r\n", headers=(("Content-Type", f"{kind}; boundary={named}"),))


def match(left: HttpRequest, right: HttpRequest) -> bool:
    """Tell whether two requests match; both ways to ask agree."""
    same = MATCHING.key(left) == MATCHING.key(right)
    assert same is not bool(MATCHING.misses(left, right))
    return same


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (request(), request(), True),
        (request(), request(method="PUT"), False),
        (request(), request(url=f"{URL}/7"), False),
        (request(), request(url="https://rest.connex.invalid:443/orders"), True),
        (request(), request(url="http://rest.connex.invalid/orders"), False),
        (request(url=f"{URL}?a=1&b=2"), request(url=f"{URL}?b=2&a=1"), True),
        (request(url=f"{URL}?a=1&a=2"), request(url=f"{URL}?a=1"), False),
        (request(url=f"{URL}?timestamp=1"), request(url=f"{URL}?timestamp=2"), True),
        (request(url=f"{URL}?timestamp=1"), request(), False),
        (request(b'{"a": 1, "id": 7}'), request(b'{"id": 8, "a": 1}'), True),
        (request(b'{"a": 1}'), request(b'{"a": 2}'), False),
        (request(b"\xff\x00"), request(b"\xff\x00"), True),
        (request(b"\xff\x00"), request(b"\xff\x01"), False),
        (request(headers=(("X-A", "1"),)), request(headers=(("X-A", "2"),)), True),
    ],
)
def test_requests_match_by_what_they_mean(left, right, same):
    assert match(left, right) is same


def test_each_part_that_differs_is_named():
    misses = MATCHING.misses(
        request(b'{"a": 1}', f"{URL}?a=1"), request(b'{"a": 2}', "http://other.invalid/x?a=2", "PUT")
    )
    assert [miss.part for miss in misses] == ["method", "origin", "path", "query", "body"]
    assert str(misses[0]) == "method: expected POST, actual PUT"


# --- Parts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["multipart/form-data", "Multipart/Mixed", "multipart/related"])
@pytest.mark.parametrize("content", [b"text", b"\xff\x00\r\n"])
def test_what_separates_the_parts_of_a_body_is_made_up(kind, content):
    assert match(parts("1f2e", content, b"b", kind=kind), parts("9a-8b", content, b"b", kind=kind))


def test_a_separator_may_be_quoted():
    assert match(parts("1f2e", b"a", quoted=True), parts("9a:8b", b"a", quoted=True))


@pytest.mark.parametrize("others", [(b"a", b"x"), (b"a",), (b"b", b"a"), (b"a", b"b", b"c"), (b"ab",)])
def test_the_parts_themselves_are_compared(others):
    assert not match(parts("1f2e", b"a", b"b"), parts("9a8b", *others))


def test_a_body_that_only_looks_like_parts_is_compared_as_it_is():
    left, right = (HttpRequest("POST", URL, [], parts(boundary, b"a").body) for boundary in ("1f2e", "9a8b"))
    assert not match(left, right)


@pytest.mark.parametrize("header", ["multipart/form-data", "multipart/form-data; boundary=", "multipart/"])
def test_parts_without_a_separator_are_a_body_like_any_other(header):
    left, right = (request(body, headers=(("Content-Type", header),)) for body in (b"a", b"b"))
    assert match(left, left)
    assert not match(left, right)
