"""Finding secrets in what is about to be written, whatever they are wrapped in."""

from __future__ import annotations

import base64
import gzip
import html
import json
import random
import zlib
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.secrets.allowance import MOST, MOST_FOR_EACH
from pytest_connex.secrets.leaks import Search
from pytest_connex.secrets.redaction import Redactor
from pytest_connex.secrets.spellings import Spellings

KEY, SECRET = "AKfYcbwXYZ0123456789abcd", 's3cr3t/with+special=chars=="ü'
SEARCH = Search([Spellings(KEY), Spellings(SECRET)])
INSIDE = b'{"pad": "' + b"x" * 40 + b'", "secret": "' + KEY.encode() + b'"}'
LONG = b",".join(b"%d" % (number * 7919 % 1000003) for number in range(400)) + KEY.encode()
DENSE = b'\xff\xfe\xfb?>~~"~' * 4 + KEY.encode()  # its base64 is full of + and /


def deflate(data: bytes, wbits: int = -15) -> bytes:
    compressor = zlib.compressobj(wbits=wbits)
    return compressor.compress(data) + compressor.flush()


def lines_of_76(data: bytes) -> bytes:
    return base64.encodebytes(data)


def escape_base64(data: bytes, plus: str, slash: str) -> bytes:
    return base64.b64encode(data).decode().replace("+", plus).replace("/", slash).encode()


b64 = base64.b64encode

WRAPPED = {
    "plain": INSIDE,
    "utf-8": SECRET.encode(),
    "latin-1": SECRET.encode("latin-1"),
    "utf-8-read-as-latin-1": SECRET.encode().decode("latin-1").encode(),
    "utf-16-le": SECRET.encode("utf-16-le"),
    "utf-16-be": b"\0<" + SECRET.encode("utf-16-be"),
    "utf-32": KEY.encode("utf-32-le"),
    "utf-16-of-hex": KEY.encode().hex().encode("utf-16-le"),
    "utf-16-of-base64": b64(INSIDE).decode().encode("utf-16-be"),
    "hex": INSIDE.hex().encode(),
    "hex-upper-and-spaced": INSIDE.hex(" ").upper().encode(),
    "hex-in-lines": b"\n".join([INSIDE.hex().encode()[start : start + 20] for start in range(0, 200, 20)]),
    "hex-of-gzip": gzip.compress(INSIDE).hex().encode(),
    "hex-of-gzip-after-a-digit": b"f" + gzip.compress(INSIDE).hex().encode(),
    "hex-of-hex": INSIDE.hex().encode().hex().encode(),
    "python-str": ascii(SECRET).encode(),
    "python-bytes": repr(SECRET.encode()).encode(),
    "python-long": b"".join(b"\\U%08x" % ord(character) for character in SECRET),
    "base64": b64(INSIDE),
    "base64-urlsafe": base64.urlsafe_b64encode(b"?" + INSIDE).rstrip(b"="),
    "base64-of-hex": b64(INSIDE.hex().encode()),
    "base64-of-latin-1": b64(b"?" + SECRET.encode("latin-1")),
    "base64-of-utf-16": b64(SECRET.encode("utf-16-le")),
    "base64-of-json": b64(json.dumps({"secret": SECRET}).encode()),
    "base64-of-percent": b64(quote(SECRET, safe="").encode()),
    "base64-in-lines": lines_of_76(b"x" * 45 + KEY.encode()),
    "base64-in-lines-in-json": json.dumps(lines_of_76(b"x" * 45 + KEY.encode()).decode()).encode(),
    "base64-twice": b64(b64(INSIDE)),
    "base64-thrice": b64(b64(b64(INSIDE))),
    "base64-twice-of-a-short-one": b64(b64(b"AKfYcbwXYZ0123456789abcd")),
    "base64-percent": escape_base64(DENSE, "%2B", "%2f"),
    "base64-of-gzip-percent": escape_base64(gzip.compress(DENSE), "%2B", "%2F"),
    "base64-of-gzip-json": escape_base64(gzip.compress(DENSE), "\\u002B", "\\/"),
    "base64-of-gzip-html": escape_base64(gzip.compress(DENSE), "&#43;", "&#x2F;"),
    "base64-in-lines-of-old": lines_of_76(gzip.compress(LONG)).replace(b"\n", b"\r"),
    "base64-of-gzip": b64(gzip.compress(INSIDE)),
    "base64-of-gzip-in-lines": lines_of_76(gzip.compress(LONG)),
    "base64-of-zlib": b64(zlib.compress(INSIDE)),
    "base64-of-deflate": b64(deflate(INSIDE)),
    "base64-of-bytes-and-gzip": b64(b"\0\1\2" + gzip.compress(INSIDE)),
    "gzip": gzip.compress(INSIDE),
    "gzip-long": gzip.compress(LONG),
    "gzip-cut": gzip.compress(INSIDE)[:-8],
    "gzip-and-more": gzip.compress(INSIDE) + b"more",
    "gzip-twice": gzip.compress(gzip.compress(INSIDE)),
    "gzip-of-base64-of-gzip": gzip.compress(b64(gzip.compress(INSIDE))),
    "gzip-after-bytes": b"\0\1 some header \xff" + gzip.compress(INSIDE),
    "gzip-after-other-gzip": gzip.compress(b"nothing") + gzip.compress(INSIDE),
    "zlib": zlib.compress(INSIDE),
    "zlib-after-bytes": b"\0\1 some header \xff" + zlib.compress(INSIDE),
    "deflate": deflate(INSIDE),
    "deflate-after-a-length": len(INSIDE).to_bytes(4) + deflate(INSIDE),
    "deflate-after-eight-bytes": len(INSIDE).to_bytes(8) + deflate(INSIDE),
    "html": html.escape(SECRET).encode(),
    "in-an-event": b'{"event":"received","binary":"' + b64(gzip.compress(INSIDE)) + b'"}',
} | {f"zlib-{wbits}": deflate(INSIDE, wbits) for wbits in range(9, 15)}


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_secret_is_found(wrapped):
    assert SEARCH.finds(WRAPPED[wrapped])


@pytest.mark.parametrize("before", ["", "/", "a/", "ab/", "abc/", "token-", "/token/", "h/abcdef/"])
@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress, lambda data: data.hex().encode()])
def test_base64_is_found_where_text_precedes_it_without_a_gap(before, pack):
    assert SEARCH.finds(before.encode() + b64(pack(INSIDE)))


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_a_secret_is_found_in_a_binary_message(wrapped):
    """A recording holds these in base64."""
    assert SEARCH.finds(b'{"event":"received","conn":1,"binary":"' + b64(WRAPPED[wrapped]) + b'"}')


@pytest.mark.parametrize("wrapped", WRAPPED)
def test_what_is_wrapped_without_a_secret_is_passed(wrapped):
    assert not Search([Spellings("another-secret")]).finds(WRAPPED[wrapped])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x1f\x8bnothing",
        b"\x1f\x8b\x08nothing",
        b"\x78\x9cnothing",
        b"A" * 33,
        b"A" * 32 + b"===",
        b"-" * 40,
        b"0" * 40,
        b"f" * 17,
        b"%zz%4",
        b"\\u12",
        b"\\ud800\\u0000",
        b"\\Uffffffff",
        b"\\",
        b"&nothing;&#xffffffff;&#0;",
        b"\\n\\r\\t\\q",
        b"%2525252541",
    ],
)
def test_what_only_looks_encoded_is_passed(data):
    assert not SEARCH.finds(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_searched_without_an_error(data):
    assert not SEARCH.finds(data)
    assert not SEARCH.finds(b64(data))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_gzip_is_found_between_any_bytes(before, after):
    assert SEARCH.finds(before + gzip.compress(INSIDE) + after)


def test_nothing_is_found_where_nothing_is_secret():
    assert not Search([]).finds(INSIDE)


def test_random_messages_pass():
    source = random.Random(7)
    assert not any(SEARCH.finds(source.randbytes(200)) for _ in range(200))


@pytest.mark.parametrize("secret", ["schlüssel", "schlüssel-鍵", "鍵鍵鍵鍵", "😀😀😀😀"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_a_secret_beyond_ascii_is_found_in_utf_16(secret, encoding):
    search = Search([Spellings(secret)])
    assert search.finds(b"<" + f"{secret}".encode(encoding) + b">")
    assert search.finds(b64(f"the key is {secret}".encode(encoding)))


@pytest.mark.parametrize("secret", ['ab\\"cdefgh', '\\"abcdefgh', 'abcdefgh\\"', '\\\\"abcdefgh'])
def test_a_secret_with_an_escaped_quote_in_it_is_found(secret):
    search = Search([Spellings(secret)])
    assert search.finds(f"the key is {secret} ".encode())
    assert search.finds(json.dumps({"key": secret}).encode())
    assert not search.finds(secret[:-1].encode())


ESCAPES = {
    "json": "\\u{:04x}",
    "python": "\\x{:02x}",
    "python-long": "\\U{:08x}",
    "percent": "%{:02X}",
    "html": "&#{};",
    "html-hex": "&#x{:x};",
}


@pytest.mark.parametrize("escape", ESCAPES.values(), ids=ESCAPES)
def test_what_is_encoded_is_found_with_every_character_escaped(escape):
    encoded = b64(gzip.compress(INSIDE))
    assert SEARCH.finds("".join(map(escape.format, encoded)).encode())


@pytest.mark.parametrize("times", [1, 2, 5, 9])
def test_a_secret_is_found_however_often_it_is_escaped(times):
    percent, text = SECRET, SECRET
    for _ in range(times):
        percent, text = quote(percent, safe=""), json.dumps(text)[1:-1]
    assert SEARCH.finds(percent.encode())
    assert SEARCH.finds(text.encode())


@pytest.mark.parametrize("pack", [b64, lambda data: data.hex().encode()])
def test_five_encodings_are_undone_and_the_sixth_is_a_spelling(pack):
    data = INSIDE
    for _ in range(6):
        data = pack(data)
    assert SEARCH.finds(data)
    assert not SEARCH.finds(pack(data))


@pytest.mark.parametrize("pack", [b64, lambda data: data.hex().encode()])
def test_a_short_secret_is_found_in_two_encodings(pack):
    search = Search([Spellings("abcdefgh")])
    assert search.finds(pack(b"abcdefgh".hex().encode()))
    assert search.finds(pack(b64(b"abcdefgh")))


# --- Lines that are documents of their own ------------------------------------------------------------------


@pytest.mark.parametrize("wrapped", [name for name, data in WRAPPED.items() if not {*b"\r\n"} & {*data}])
def test_a_secret_is_found_in_a_document_that_is_one_line(wrapped):
    assert SEARCH.finds(WRAPPED[wrapped], separate=True)


def test_what_is_wrapped_into_lines_is_no_one_s_where_each_is_a_document_of_its_own():
    lines = b"\n".join(b64(gzip.compress(INSIDE))[start : start + 20] for start in range(0, 400, 20))
    assert SEARCH.finds(lines)
    assert not SEARCH.finds(lines, separate=True)


@pytest.mark.parametrize("line", [b'{"a": 1.10, "b": [true, null, "some text"]}', b"", b"1:2-3", b"x" * 15])
def test_lines_without_anything_that_could_hide_a_secret_pass(line):
    assert SEARCH.passes(line)
    assert SEARCH.passes(line + b"\n" + line)


@pytest.mark.parametrize(
    "secret", ["abcdefgh", "ab-cd_ef", "ab+cd/ef", "abcdefghabcdefgh", "ab cd ef", 'ab"cdefg', "äöüäöü"]
)
def test_lines_with_a_secret_do_not_pass(secret):
    search = Search([Spellings(secret)])
    raw = secret.encode()
    assert not search.passes(b"a line\n[" + raw.hex().encode().hex(":").encode() + b"]\n")
    for written in (raw, b64(raw), b64(b"?" + raw), *(raw.hex(*part).encode() for part in ((), ":", "-", " "))):
        assert not search.passes(b"a line\n[" + written + b"]\n")
        assert not search.passes(b"a line\n[" + written.upper() + b"]\n") or not search.finds(written.upper())


@given(st.sampled_from(sorted(WRAPPED)), st.binary(max_size=20))
def test_what_passes_holds_nothing_that_is_found(wrapped, before):
    data = before + WRAPPED[wrapped]
    assert not (SEARCH.passes(data) and SEARCH.finds(data, separate=True))


# --- What is hard to look into -------------------------------------------------------------------------------


MUCH = 1_000_000
HARD = {
    "backslashes": b'{"token":["' + b"\\" * MUCH,
    "backslashes-before-a-letter": b"\\" * MUCH + b"u",
    "the-key-and-backslashes": KEY[:-1].encode() + b"\\" * MUCH,
    "escaped-quotes": b'{"token":"' + b'\\"' * MUCH,
    "percent-signs": b"%" * MUCH,
    "escaped-percent-signs": b"%" + b"25" * MUCH,
    "escaped-ampersands": b"&" + b"amp;" * MUCH,
    "an-endless-entity": b"&#" + b"0" * MUCH,
    "names": b'"token":[' * (MUCH // 9),
    "open-strings": b'{\\"token\\":\\"' * (MUCH // 13),
    "parameters": b"&token=\\\\\\" * (MUCH // 10),
    "escaped-space": b'"token":' + b"\\n" * MUCH,
    "marks": b"\x78\x9c" * (MUCH // 2),
    "small-gzip": gzip.compress(b"a") * (MUCH // 21),
    "runs": b"".join(b"%032x\n" % number for number in range(2**120, 2**120 + MUCH // 100)),
    "zeros": bytes(MUCH),
    "base64-of-itself": b"eHh4" * (MUCH // 4),
}


@pytest.mark.parametrize("data", HARD.values(), ids=HARD)
def test_nothing_takes_longer_than_its_length(data):
    """A search that goes back, or starts over, takes hours for these."""
    redactor = Redactor({KEY: "connex-recorded-key", SECRET: "connex-recorded-secret"}, ("token",))
    assert redactor.refusal(data, "this") == ""
    assert len(redactor.payload(data)) <= len(data) + len("connex-recorded-token") * data.count(b"token")
    text = data.decode("latin-1")
    assert redactor.text(text).startswith(text[:1])


BOMB = gzip.compress(gzip.compress(bytes(2 * MOST)))
DEFLATED = deflate(b"a" * 2 * MOST)


@pytest.mark.parametrize(
    "data",
    [BOMB, b"<" + BOMB, b64(BOMB), BOMB.hex().encode(), DEFLATED, zlib.compress(DEFLATED), DEFLATED * 20],
    ids=["gzip", "behind", "base64", "hexadecimal", "deflate", "zlib", "many"],
)
def test_what_unpacks_to_too_much_is_refused_with_the_reason(data):
    refusal = Redactor({KEY: "connex-recorded-key"}).refusal(data, "the answer")
    mebibytes = (MOST + MOST_FOR_EACH * len(data)) >> 20
    assert refusal == (
        "the answer cannot be searched for secrets, because what is compressed or encoded in it unpacks to more than "
        f"{mebibytes} MiB; nothing was written"
    )


@pytest.mark.parametrize("place", [0, 1, 3_000_000])
def test_a_secret_is_found_deep_in_what_is_compressed(place):
    data = random.Random(7).randbytes(place) + KEY.encode() + bytes(1000)
    assert SEARCH.finds(gzip.compress(data))
    assert SEARCH.finds(random.Random(8).randbytes(5000) + b"\x01" + zlib.compress(data))


@pytest.mark.parametrize("place", [2**18 - 40, 2**18 - 12, 2**18 - 1, 2**18, 2**19 - 12])
@pytest.mark.parametrize(
    "spell", [str.encode, lambda text: text.encode().hex().encode(), lambda text: b64(text.encode())]
)
def test_a_secret_is_found_wherever_it_stands(place, spell):
    """A long text is looked at in parts."""
    data = b"." * place + spell(KEY) + b"." * 100
    assert SEARCH.finds(data)
    assert not SEARCH.finds(data.replace(spell(KEY), b""))


@given(
    before=st.text(), after=st.text(), secret=st.sampled_from(["a%41%62cdefgh", "ab\\u0041cdefgh", "a b&c=d%20efgh"])
)
def test_a_secret_with_what_looks_like_an_escape_is_found_escaped_in_part(before, after, secret):
    search = Search([Spellings(secret)])
    for written in (secret, quote(secret), secret[:4] + quote(secret[4:], safe=""), json.dumps(secret)[1:-1]):
        assert search.finds((before + written + after).encode("utf-8", "surrogatepass"))


def test_backslashes_beside_a_secret_are_read_once():
    redactor = Redactor({KEY: "connex-recorded-key", "\\" + KEY: "connex-recorded-other"})
    text = KEY + "\\" * MUCH
    assert redactor.text(text) == text.replace(KEY, "connex-recorded-key")
