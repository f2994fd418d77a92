"""Secrets: found in every encoding they travel in, replaced to the character, refused where one is left."""

from __future__ import annotations

import base64
import html
import json
import re
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pytest_connex.errors import SecretFound
from pytest_connex.secrets.redaction import Redactor

KEY, SECRET = "AKfYcbwXYZ0123456789abcd", 's3cr3t/with+special=chars=="ü'
PLACEHOLDER = "connex-recorded-secret"
REDACTOR = Redactor(
    {SECRET: PLACEHOLDER, KEY: "connex-recorded-key"}, ("signature", "listenKey", "token", "passphrase")
)
PATH = Path("x.ws.jsonl")


def refuses(redactor: Redactor, data: bytes) -> bool:
    try:
        redactor.check(data, PATH, 1)
    except SecretFound:
        return True
    return False


def unicode_escaped(text: str, upper: bool = False) -> str:
    units = text.encode("utf-16-be").hex()
    escapes = (units[index : index + 4] for index in range(0, len(units), 4))
    return "".join(f"\\u{unit.upper() if upper else unit}" for unit in escapes)


def percent(text: str, form: str = "%{:02X}") -> str:
    return "".join(form.format(byte) for byte in text.encode())


ENCODINGS = {
    "plain": lambda s: s,
    "percent": lambda s: quote(s, safe=""),
    "percent-lower": lambda s: re.sub("%..", lambda found: found[0].lower(), quote(s, safe="")),
    "percent-partial": lambda s: quote(s, safe="/+ "),
    "percent-every-byte": percent,
    "percent-some": lambda s: percent(s[:3]) + s[3:],
    "percent-twice": lambda s: quote(quote(s, safe=""), safe=""),
    "percent-thrice": lambda s: quote(quote(quote(s, safe=""), safe=""), safe=""),
    "form": quote_plus,
    "hex": lambda s: s.encode().hex(),
    "hex-upper": lambda s: s.encode().hex().upper(),
    "json": lambda s: json.dumps(s)[1:-1],
    "json-not-ascii": lambda s: json.dumps(s, ensure_ascii=False)[1:-1],
    "json-slash": lambda s: json.dumps(s)[1:-1].replace("/", "\\/"),
    "json-unicode": unicode_escaped,
    "json-unicode-upper": lambda s: unicode_escaped(s, upper=True),
    "json-unicode-some": lambda s: s[0] + unicode_escaped(s[1]) + json.dumps(s[2:])[1:-1],
    "json-in-json": lambda s: json.dumps(json.dumps(s))[1:-1],
    "json-in-json-in-json": lambda s: json.dumps(json.dumps(json.dumps(s)))[1:-1],
    "json-unicode-in-json": lambda s: json.dumps(unicode_escaped(s))[1:-1],
    "python": lambda s: repr(s + "'\"")[1:-4],
    "python-double-quotes": lambda s: s.replace("\\", "\\\\").replace('"', '\\"'),
    "python-ascii": lambda s: ascii(s)[1:-1],
    "python-long": lambda s: "".join(f"\\U{ord(character):08x}" for character in s),
    "python-bytes": lambda s: repr(s.encode() + b"'\"")[2:-4],
    "python-bytes-every": lambda s: "".join(f"\\x{byte:02x}" for byte in s.encode()),
    "python-in-python": lambda s: repr(repr(s + "'\"")[1:-4] + "'\"")[1:-4],
    "read-as-latin-1": lambda s: s.encode().decode("latin-1"),
    "read-as-latin-1-json": lambda s: json.dumps(s.encode().decode("latin-1"))[1:-1],
    "read-as-latin-1-percent": lambda s: quote(s.encode().decode("latin-1"), safe=""),
    "html": html.escape,
    "html-twice": lambda s: html.escape(html.escape(s)),
    "html-decimal": lambda s: "".join(f"&#{ord(character)};" for character in s),
    "html-hex": lambda s: "".join(f"&#x{ord(character):X};" for character in s),
    "hex-spaces": lambda s: s.encode().hex(" "),
    "hex-colons-upper": lambda s: s.encode().hex(":").upper(),
    "base64-percent": lambda s: quote(base64.b64encode(b"?>" + s.encode()), safe=""),
    "base64-percent-lower": lambda s: base64.b64encode(b"?>" + s.encode()).decode().replace("+", "%2b"),
    "base64-json": lambda s: base64.b64encode(s.encode()).decode().replace("/", "\\/").replace("+", "\\u002B"),
} | {
    f"base64-{name}-{lead}-{tail}": lambda s, encode=encode, lead=lead, tail=tail: encode(
        b"user::"[:lead] + s.encode() + b"::more"[:tail]
    ).decode()
    for name, encode in (("standard", base64.b64encode), ("urlsafe", base64.urlsafe_b64encode))
    for lead in (0, 1, 2, 5)
    for tail in (0, 1, 2)
}  # fmt: skip

secrets = st.text(
    st.characters(min_codepoint=33, max_codepoint=126) | st.sampled_from('é鍵😀 "\\/%+&='), min_size=8, max_size=40
)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("secret", [SECRET, KEY], ids=["secret", "key"])
def test_a_secret_is_replaced_in_every_encoding(encoding, secret):
    text = f'{{"note": "<{ENCODINGS[encoding](secret)}>", "price": 1.10}}'
    assert refuses(REDACTOR, text.encode())
    redacted = REDACTOR.text(text)
    assert not refuses(REDACTOR, redacted.encode())
    assert redacted.startswith('{"note": "<')
    assert redacted.endswith('>", "price": 1.10}')


@pytest.mark.parametrize("secret", ["gehe1m-\xe9\u9375\"'\\&<>+/=%x", "ä\\u00e4%41&amp;b"])
@pytest.mark.parametrize(
    "spell", [ascii, lambda text: json.dumps(ascii(text)), lambda text: quote(text[:3]) + text[3:]]
)
def test_a_secret_is_replaced_with_each_character_escaped_in_its_own_way(secret, spell):
    redactor = Redactor({secret: PLACEHOLDER})
    assert refuses(redactor, spell(secret).encode())
    assert PLACEHOLDER in redactor.text(spell(secret))


@pytest.mark.parametrize("encoding", [name for name in ENCODINGS if "base64" not in name and "hex" not in name])
def test_a_spelled_secret_becomes_exactly_its_placeholder(encoding):
    encoded = ENCODINGS[encoding](SECRET)
    outer = '"' if encoding.startswith("json-in-json") else ""  # the quotes of the inner documents are kept
    redacted = REDACTOR.text(f"<{encoded}>")
    assert re.sub(r'[\\"]', "", redacted) == f"<{PLACEHOLDER}>" if outer else redacted == f"<{PLACEHOLDER}>"


@pytest.mark.parametrize("separator", ["", " ", ":", "-"])
def test_hex_becomes_the_placeholder_in_hex(separator):
    def as_hex(text: str) -> str:
        return text.encode().hex(separator) if separator else text.encode().hex()

    assert REDACTOR.text(as_hex(SECRET).upper()) == as_hex(PLACEHOLDER)


def test_latin_1_bytes_are_replaced_in_binary_messages():
    secret = SECRET.encode("latin-1")
    assert REDACTOR.binary(b"<" + secret + b">") == b"<" + PLACEHOLDER.encode().ljust(len(secret), b"-") + b">"


def test_base64_of_latin_1_bytes_is_replaced():
    assert REDACTOR.text(base64.b64encode(SECRET.encode("latin-1")).decode()).startswith("UkVEQUNURUQ")


def test_base64_leaves_an_escape_before_the_secret_whole():
    escaped = quote(base64.b64encode(b"\xfb\xef\xbe" + KEY.encode()), safe="")
    assert escaped.startswith("%2B%2B%2B%2B")
    assert REDACTOR.text(escaped) == "%2B%2B%2B%2BUkVEQUNURUQ"
    shared = quote(base64.b64encode(b"\xfb\xef\xbe\xfb" + KEY.encode()), safe="")
    assert shared.startswith("%2B%2B%2B%2B%2B")
    assert REDACTOR.text(shared).startswith("%2B%2B%2B%2B%2BUkVEQUNURUQ")


def test_base64_leaves_the_characters_beside_the_secret_alone():
    alone = base64.b64encode(b"abc" + KEY.encode() + b"xyz").decode()
    assert len(KEY) % 3 == 0
    assert REDACTOR.text(f"/token/{alone}/x") == "/token/YWJjUkVEQUNURUQeHl6/x"
    bare = base64.b64encode(KEY.encode()).decode()
    assert REDACTOR.text(f"/token/{bare}/x") == "/token/UkVEQUNURUQ/x"


@given(secret=secrets, encoding=st.sampled_from(sorted(ENCODINGS)), before=st.text(), after=st.text())
def test_what_is_redacted_passes_the_check_and_what_is_not_is_refused(secret, encoding, before, after):
    assume(secret not in PLACEHOLDER)
    redactor = Redactor({secret: PLACEHOLDER})
    text = before + ENCODINGS[encoding](secret) + after
    assert refuses(redactor, text.encode("utf-8", "surrogatepass"))
    assert not refuses(redactor, redactor.text(text).encode("utf-8", "surrogatepass"))


@given(secret=secrets, encoding=st.sampled_from(sorted(ENCODINGS)), before=st.text(), after=st.text())
def test_messages_do_not_pass_with_a_secret_among_them(secret, encoding, before, after):
    message = before + ENCODINGS[encoding](secret) + after
    assert not Redactor({secret: PLACEHOLDER}).passes(["{}", message, "[]"])


@given(messages=st.lists(st.text(st.characters(max_codepoint=126)) | st.sampled_from([SECRET[:-1], KEY.lower()])))
def test_of_messages_that_pass_none_is_replaced_and_none_refused(messages):
    if REDACTOR.passes(messages):
        assert [REDACTOR.text(message) for message in messages] == messages
        assert not any(refuses(REDACTOR, json.dumps(message).encode()) for message in messages)


@pytest.mark.parametrize(
    "message",
    [
        '{"Token": 1}',
        "a=1&SIGNATURE=2",
        '{"listenKey": "x"}',
        "two\nlines",
        b"binary",
        "\ud800",
        '{"a": "{\\"b\\": 1}"}',
    ],
)
def test_messages_do_not_pass_when_one_has_to_be_looked_at(message):
    assert not REDACTOR.passes(["{}", message, "[]"])


@pytest.mark.parametrize(
    "message", ['{"bids": [["2497.90", "2.1184"]]}', "é", '{"id": "2c4a0f6e-7b1d-4f0a-9a52-6b0f1e8d3c77"}']
)
def test_messages_without_a_secret_pass_at_once(message):
    assert REDACTOR.passes(["{}", message, "[]"])


@pytest.mark.parametrize("message", ['{"SCHLÜSSEL": "xx"}', '{"to\u212aen": "xx"}'])
def test_messages_with_a_secret_member_in_other_letters_do_not_pass(message):
    redactor = Redactor({}, ("token", "Schlüssel"))
    assert redactor.text(message) != message
    assert not redactor.passes(["{}", message, "[]"])


@given(data=st.data(), secret=secrets)
def test_the_text_around_a_secret_is_untouched(data, secret):
    around = st.text(st.characters(exclude_characters=secret + "+%\\"))
    before, after = data.draw(around), data.draw(around)
    assert Redactor({secret: PLACEHOLDER}).text(before + secret + after) == before + PLACEHOLDER + after


@given(text=st.text(), data=st.binary())
def test_what_holds_no_secret_is_untouched(text, data):
    assert REDACTOR.text(text) == text
    assert REDACTOR.binary(data) == data
    assert not refuses(REDACTOR, data)


def test_a_frame_keeps_its_numbers_and_its_spacing():
    frame = '{"apiKey" :"%s","price":1.10,  "big": 123456789012345678901234567890, "e": 1E5}'
    assert REDACTOR.text(frame % KEY) == frame % "connex-recorded-key"


def test_the_longer_of_two_secrets_is_replaced_first():
    redactor = Redactor({"abcdefgh": "SHORT", "abcdefgh-ijkl": "LONG"})
    assert redactor.text("abcdefgh-ijkl abcdefgh") == "LONG SHORT"


def test_a_placeholder_as_value_is_left_alone():
    redactor = Redactor({"connex-recorded-key": "connex-recorded-key", "": "x"})
    assert redactor.text("connex-recorded-key") == "connex-recorded-key"
    assert not refuses(redactor, b"connex-recorded-key")


def test_binary_messages_keep_every_other_byte():
    data = b"\x00\xff\xfe" + SECRET.encode() + b"\x80\r\n" + KEY.encode().hex().encode()
    secret = PLACEHOLDER.encode().ljust(len(SECRET.encode()), b"-")
    key = b"connex-recorded-key".ljust(len(KEY), b"-")
    assert REDACTOR.binary(data) == b"\x00\xff\xfe" + secret + b"\x80\r\n" + key.hex().encode()
    assert REDACTOR.payload(data) == REDACTOR.binary(data)
    assert REDACTOR.payload(f"<{KEY}>") == "<connex-recorded-key>"


# --- Members and parameters --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["signature", "listenKey", "token", "passphrase"])
def test_a_secret_member_is_replaced_at_any_depth(name):
    frame = '{"a": [{"%s" : "00d9\\"015e", "n": 1.10}], "%s":"x"}' % (name, name)
    placeholder = f"connex-recorded-{name.lower()}"
    assert REDACTOR.text(frame) == '{"a": [{"%s" : "%s", "n": 1.10}], "%s":"%s"}' % (
        name, placeholder, name, placeholder,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ('{"token": 12345, "n": 1.10}', '{"token": 0, "n": 1.10}'),
        ('{"token":-1.5e+7}', '{"token":0}'),
        ('{"token": null}', '{"token": null}'),
        ('{"token": ""}', '{"token": "connex-recorded-token"}'),
        ('{"tokens": "a", "mytoken": "b"}', '{"tokens": "a", "mytoken": "b"}'),
        (
            '{"Token": "a", "PASSPHRASE": "b"}',
            '{"Token": "connex-recorded-token", "PASSPHRASE": "connex-recorded-passphrase"}',
        ),
        ('{"Token": 7}', '{"Token": 0}'),
        ('{"token": ["a"], "n": [1.10]}', '{"token": ["connex-recorded-token"], "n": [1.10]}'),
        ('{"token":[ "a\\"]" ,"b"]}', '{"token":[ "connex-recorded-token" ,"connex-recorded-token"]}'),
        ('{"token": [], "n": ["a"]}', '{"token": [], "n": ["a"]}'),
        ('{"token": [1.10]}', '{"token": [1.10]}'),
        ("?Token=abc&n=1.10", "?Token=connex-recorded-token&n=1.10"),
        ('{"a": "token"}', '{"a": "token"}'),
        ("?token=abc&n=1.10", "?token=connex-recorded-token&n=1.10"),
        ("n=1&signature=ab%2Fcd", "n=1&signature=connex-recorded-signature"),
        ("signature=ab&x=1", "signature=connex-recorded-signature&x=1"),
        ("https://h/p?listenKey=a#f", "https://h/p?listenKey=connex-recorded-listenkey#f"),
        ("mytoken=abc", "mytoken=abc"),
        ('{"url": "ws:\\/\\/h?token=a\\/b"}', '{"url": "ws:\\/\\/h?token=connex-recorded-token"}'),
        (
            '"?token=a\\u0026n=1\\u0026token=b"',
            '"?token=connex-recorded-token\\u0026n=1\\u0026token=connex-recorded-token"',
        ),
        ('"token=a\\nb"', '"token=connex-recorded-token\\nb"'),
        ('{"url": "/ws?token=abc"}', '{"url": "/ws?token=connex-recorded-token"}'),
    ],
)
def test_a_secret_parameter_or_number_is_replaced_and_its_neighbours_are_not(text, redacted):
    assert REDACTOR.text(text) == redacted


@pytest.mark.parametrize("value", ["", "abc", "a/b+c=", 'a"b', '"', "a\\b", "a\\", '\\"', "a\nb", "ü", "a b", 'a"]'])
@pytest.mark.parametrize("levels", [0, 1, 2, 3])
@pytest.mark.parametrize("indent", [None, 2])
def test_a_secret_list_inside_json_inside_a_string_is_replaced_whole(value, levels, indent):
    text = json.dumps({"token": [value, value], "price": ["1.10"]}, indent=indent)
    for _ in range(levels):
        text = json.dumps({"inner": text})
    inner = REDACTOR.text(text)
    for _ in range(levels):
        inner = json.loads(inner)["inner"]
    assert json.loads(inner) == {"token": ["connex-recorded-token"] * 2, "price": ["1.10"]}


@pytest.mark.parametrize("value", ["", "abc", "a/b+c=", 'a"b', '"', "a\\b", "a\\", '\\"', "a\nb", "ü", "a b"])
@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_a_secret_member_inside_json_inside_a_string_is_replaced_whole(value, levels):
    text = json.dumps({"token": value, "price": "1.10"})
    for _ in range(levels):
        text = json.dumps({"inner": text})
    inner = REDACTOR.text(text)
    for _ in range(levels):
        inner = json.loads(inner)["inner"]
    assert json.loads(inner) == {"token": "connex-recorded-token", "price": "1.10"}


def test_a_slash_escaped_inside_a_nested_secret_does_not_end_it():
    text = json.dumps({"inner": '{"token": "ab\\/cd", "n": 1}'})
    assert json.loads(REDACTOR.text(text)) == {"inner": '{"token": "connex-recorded-token", "n": 1}'}


def test_a_parameter_at_the_end_of_a_nested_string_leaves_its_escape_alone():
    text = json.dumps({"inner": json.dumps({"url": "/ws?token=abc"})})
    assert json.loads(json.loads(REDACTOR.text(text))["inner"]) == {"url": "/ws?token=connex-recorded-token"}


# --- Headers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Set-Cookie", "session=abc; Path=/; HttpOnly", "session=connex-recorded-session; Path=/; HttpOnly"),
        ("set-cookie", "session=a=b==;Max-Age=1", "session=connex-recorded-session;Max-Age=1"),
        ("Set-Cookie", "session=; Max-Age=0", "session=; Max-Age=0"),
        ("Set-Cookie", ' SID = "abc" ', " SID =connex-recorded-sid"),
        ("Set-Cookie", "=abc", "=connex-recorded-"),
        (
            "Cookie",
            "csrftoken=abc; session=def",
            "csrftoken=connex-recorded-csrftoken; session=connex-recorded-session",
        ),
        ("cookie", "a=1;b=2;", "a=connex-recorded-a;b=connex-recorded-b;"),
        ("Cookie", "abc; b=2", "connex-recorded-cookie; b=connex-recorded-b"),
    ],
)
def test_cookies_keep_their_names_and_attributes(name, value, shown):
    assert Redactor({}).header(name, value) == shown


@pytest.mark.parametrize(
    "text",
    [
        '{"token": "connex-recorded-listenkey-2"}',
        "?token=connex-recorded-authorization-17&n=1",
        '{"a": {"passphrase": "connex-recorded-passphrase"}}',
    ],
)
def test_what_has_been_replaced_stays(text):
    assert REDACTOR.text(text) == text


def test_so_it_does_in_headers():
    redactor = Redactor({})
    for value in ("Bearer connex-recorded-token-2", "connex-recorded-authorization"):
        assert redactor.header("Authorization", value) == value
    assert redactor.header("Set-Cookie", "sid=connex-recorded-sid-2; Path=/") == "sid=connex-recorded-sid-2; Path=/"


@pytest.mark.parametrize("secret", [KEY, SECRET])
@pytest.mark.parametrize(
    "spell", [str.encode, lambda text: text.encode().hex().encode(), lambda text: base64.b64encode(text.encode())]
)
def test_in_binary_data_what_takes_the_place_of_a_secret_is_as_long(secret, spell):
    written = spell(secret)
    data = bytes([0x83, len(written)]) + written + b"\x00\xff"
    redacted = REDACTOR.binary(data)
    assert len(redacted) == len(data)
    assert written not in redacted
    assert (redacted[:2], redacted[-2:]) == (data[:2], data[-2:])


@pytest.mark.parametrize("member", ['"token": "abcdef"', '"token":["ab", "cd"]', '"token": 123456', "?token=abcdef"])
def test_so_is_what_takes_the_place_of_a_member_whose_name_is_secret(member):
    data = b"\x82\x00{" + member.encode() + b"}\xff"
    redacted = Redactor({}, ("token",)).binary(data)
    assert len(redacted) == len(data)
    assert redacted != data
    assert not any(value in redacted for value in (b"abcdef", b'"ab"', b"123456"))


@pytest.mark.parametrize("name", ["Authorization", "Proxy-Authorization", "cookie", "Set-Cookie", "X-Mine", "Token"])
def test_a_secret_header_is_replaced_whole(name):
    redactor = Redactor({}, ("token",), headers=("x-mine",))
    assert redactor.header(name, "Bearer anything") == f"connex-recorded-{name.lower()}"


def test_any_other_header_is_searched():
    assert REDACTOR.header("X-CONNEX-API-SECRET", SECRET) == PLACEHOLDER
    assert REDACTOR.header("Accept", "application/json") == "application/json"


# --- What is left: what is found is in test_secrets_leaks.py ----------------------------------------------


def test_a_refusal_names_the_line_and_not_the_secret():
    with pytest.raises(SecretFound) as caught:
        REDACTOR.check(b"a\nb\n" + SECRET.encode() + b"\n", PATH)
    assert str(caught.value) == "x.ws.jsonl:3: a secret was left in this line; nothing was written"
    with pytest.raises(SecretFound) as caught:
        REDACTOR.check(KEY.encode(), PATH, 17)
    assert caught.value.line == 17
    assert KEY not in str(caught.value)


def test_without_values_nothing_is_refused():
    Redactor({}, ("token",)).check(b'{"token": "abc"}', PATH)


@pytest.mark.parametrize(
    ("values", "placeholder"),
    [
        ({"recorded": PLACEHOLDER}, PLACEHOLDER),
        ({"recorded-key": "connex-recorded-key", SECRET: PLACEHOLDER}, "connex-recorded-key"),
        ({"recorded-token": "x"}, "connex-recorded-token"),
    ],
)
def test_a_secret_within_a_placeholder_is_refused_with_the_reason(values, placeholder):
    redactor = Redactor(values, ("token",))
    with pytest.raises(SecretFound) as caught:
        redactor.check(redactor.text(f'{{"token": "x", "key": "{next(iter(values))}"}}').encode(), PATH, 3)
    assert f"A secret is a part of {placeholder!r}" in str(caught.value)
    assert str(caught.value).endswith("so that no recording can be without it: record with another one")


@pytest.mark.parametrize("text", ["Pz8/Pj4+YWI=", "Pz8_Pj4-YWI=", "Pz8%2FPj4%2BYWI=", r"Pz8\/Pj4\u002bYWI="])
def test_base64_is_replaced_also_where_plus_and_slash_are_escaped(text):
    assert Redactor({"???>>>ab": "connex-recorded-value"}).text(f"key={text}") == "key=UkVEQUNURUQ="


@pytest.mark.parametrize(
    ("value", "shown"), [("a-known-key", "connex-recorded-key"), ("another-key", "connex-recorded-x-key")]
)
def test_a_known_value_in_a_secret_header_has_the_placeholder_of_the_value(value, shown):
    redactor = Redactor({"a-known-key": "connex-recorded-key", "a-known-secret": "x"}, headers=("X-Key",))
    assert redactor.header("x-key", value) == shown


# --- Values of several lines, or with space around them ----------------------------------------------------


DER = bytes(range(48, 160))
PEM = f"-----BEGIN PRIVATE KEY-----\n{base64.encodebytes(DER).decode()}-----END PRIVATE KEY-----\n"
LINES = base64.encodebytes(DER).decode().split()


@pytest.mark.parametrize(
    "written",
    [
        PEM,
        PEM.strip(),
        json.dumps(PEM),
        PEM.replace("\n", "\r\n"),
        f"the key is {LINES[0]}!",
        f"the key is {LINES[1]}!",
        f"the key is {''.join(LINES)}!",
        f"the key is {DER.hex()}!",
        f"the key is {base64.urlsafe_b64encode(b'?' + DER).decode()}!",
        f"the key is {quote(PEM)}!",
    ],
)
def test_a_key_in_pem_is_replaced_whole_by_line_joined_and_as_what_it_encodes(written):
    redactor = Redactor({PEM: PLACEHOLDER})
    assert refuses(redactor, written.encode())
    redacted = redactor.text(written)
    assert not refuses(redactor, redacted.encode())
    assert not any(line in redacted for line in LINES)


def test_the_bytes_of_a_key_in_pem_are_replaced_in_binary_messages():
    redacted = Redactor({PEM: PLACEHOLDER}).binary(b"\x82\xff" + DER + b"\x00")
    assert len(redacted) == len(DER) + 3
    assert DER not in redacted
    assert PLACEHOLDER.encode() in redacted


@pytest.mark.parametrize("value", [f" {KEY}\n", f"{KEY}\r\n", f"\t{KEY}"])
def test_a_value_is_known_with_the_space_around_it_and_without(value):
    redactor = Redactor({value: PLACEHOLDER})
    assert redactor.text(f"<{KEY}>") == f"<{PLACEHOLDER}>"
    assert KEY not in redactor.text(f"<{value}>")
    assert refuses(redactor, KEY.encode())


# --- Passwords in URLs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:hunter2@h/p?a=1", "https://me:connex-recorded-password@h/p?a=1"),
        ('{"proxy": "socks5://me:p%40ss@h:1080"}', '{"proxy": "socks5://me:connex-recorded-password@h:1080"}'),
        ('"wss:\\/\\/:hunter2@h"', '"wss:\\/\\/:connex-recorded-password@h"'),
        ("wss://:hunter2@h", "wss://:connex-recorded-password@h"),
        ("https://me@h/p", "https://me@h/p"),
        ("https://h:8080/p@x", "https://h:8080/p@x"),
        ("https://h:8080?q=a@b", "https://h:8080?q=a@b"),
        ("ask a:b@h at https://h", "ask a:b@h at https://h"),
        ("https://me:connex-recorded-password@h", "https://me:connex-recorded-password@h"),
    ],
)
def test_a_password_before_the_host_of_a_url_is_replaced(text, shown):
    assert REDACTOR.text(text) == shown
    assert REDACTOR.passes([text]) is False or shown == text
