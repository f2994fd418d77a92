"""The spellings of one secret value."""

from __future__ import annotations

import base64

import pytest

from pytest_connex.secrets.escapes import has_escapes
from pytest_connex.secrets.spellings import Spellings, variants


def test_an_ascii_value_has_one_plain_spelling():
    assert Spellings("abcdefgh").plain == ("abcdefgh",)


def test_a_space_is_a_plus_in_a_form():
    assert Spellings("abcd efgh").plain == ("abcd efgh", "abcd+efgh")


def test_a_value_beyond_ascii_is_known_as_its_misread_bytes():
    assert Spellings("schlüssel").plain == ("schlüssel", "schlÃ¼ssel", "schl\udcfcssel")


def test_what_latin_1_cannot_write_has_no_latin_1_bytes():
    assert len(Spellings("鍵鍵鍵鍵").hexadecimal) == len(Spellings("abcdefgh").hexadecimal)


def test_hexadecimal_comes_with_the_usual_separators():
    assert [form.digits for form in Spellings("ab").hexadecimal] == ["6162", "61 62", "61:62", "61-62"]


@pytest.mark.parametrize("lead", [0, 1, 2, 3, 4, 5])
def test_base64_holds_one_of_the_cores_whatever_stands_around_the_value(lead):
    spellings = Spellings("s3cr3t?>with~~")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(b"~" * lead + b"s3cr3t?>with~~" + b"~").decode()
        assert any(core in text for form in spellings.base64 for core in form.cores)


def test_only_cores_with_plus_or_slash_can_be_escaped():
    assert [form.escapable for form in Spellings("abcdefgh").base64] == [False, False, False]
    assert any(form.escapable for form in Spellings("??>>~~~~").base64)


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        ("a b", "a+b"),
        ("a/b", "a%2fb"),
        ("a/b", "a%252Fb"),
        ("a/b", r"a\/b"),
        ('a"b', r"a\\\"b"),
        ("a'b", r"a\'b"),
        ("a'b", "a&apos;b"),
        ("a'b", "a&#39;b"),
        ("a'b", "a&#x27;b"),
        ("a&b", "a&amp;amp;b"),
        ('a"b', "a&quot;b"),
        ("a<b", "a&lt;b"),
        ("a>b", "a&amp;gt;b"),
        ("a𐀀b", r"a\ud800\udc00b"),
        ("aüb", r"a\xfcb"),
        ("aüb", r"a\xc3\xbcb"),
        ("aüb", r"a\u00FCb"),
        ("aüb", r"a\u00c3\u00bcb"),
        ("aüb", "a%C3%BCb"),
        ("aüb", "a%FCb"),
        ("a😀b", r"a\ud83d\ude00b"),
        ("a😀b", r"a\U0001f600b"),
    ],
)
def test_an_escaped_value_is_recognised(value, spelled):
    assert Spellings(value).escaped.fullmatch(spelled)


@pytest.mark.parametrize(
    ("text", "escapes"), [("a/b=c", False), ("%2F", True), (r"\"", True), ("a&b", True), ("", False)]
)
def test_text_without_a_sign_of_an_escape_has_none(text, escapes):
    assert has_escapes(text) is escapes


@pytest.mark.parametrize(
    ("value", "other"), [("ab", r"a\b"), ("axb", "a+b"), ("a/b", "a%2eb"), ("a<b", "a&gt;b"), ("aüb", "a%C3%BDb")]
)
def test_another_value_is_not_recognised(value, other):
    assert not Spellings(value).escaped.fullmatch(other)


NEIGHBOURS = (b"\x00", b"\xff", b"~", b"@")


@pytest.mark.parametrize("lead", [0, 1, 2])
@pytest.mark.parametrize("value", ["abcdefgh", "abcdefghi", "abcdefghij"])
def test_a_core_of_base64_is_all_that_depends_on_the_value_alone(value, lead):
    [core] = Spellings(value).base64[lead].cores
    texts = [
        base64.b64encode(before * lead + value.encode() + after * 3).decode()
        for before in NEIGHBOURS
        for after in NEIGHBOURS
    ]
    [start] = {text.index(core) for text in texts}
    around = {text[:start] for text in texts}, {text[start + len(core) :] for text in texts}
    assert [len(parts) for parts in around] == [1 if lead == 0 else len(NEIGHBOURS), len(NEIGHBOURS)]
    assert all(len({text[place] for text in texts}) > 1 for place in (start - 1, start + len(core)) if place >= 0)


@pytest.mark.parametrize("lead", [0, 1, 2])
@pytest.mark.parametrize("value", ["abcdefgh", "abcdefghi", "abcdefghij"])
def test_base64_is_replaced_with_the_characters_that_hold_bits_of_the_value(value, lead):
    form = Spellings(value).base64[lead]
    text = base64.b64encode(b"~" * lead + value.encode() + b"~~~").decode()
    bits = 8 * lead, 8 * (lead + len(value))
    assert form.pattern.search(text).span() == (bits[0] // 6, -(-bits[1] // 6))


@pytest.mark.parametrize("plus", ["+", "-", "%2B", "%2b", "%252B", r"\u002b", r"\\u002B"])
@pytest.mark.parametrize("slash", ["/", "_", "%2F", "%2f", "%252f", r"\u002F", r"\\u002f", r"\/", r"\\/"])
def test_base64_is_recognised_with_plus_and_slash_escaped(plus, slash):
    text = base64.b64encode(b"???>>>ab").decode()
    assert {"+", "/"} <= {*text}
    spelled = text.rstrip("=").translate({ord("+"): plus, ord("/"): slash})
    assert Spellings("???>>>ab").base64[0].pattern.fullmatch(spelled)


@pytest.mark.parametrize(
    ("value", "known"),
    [
        ("abcdefgh", ["abcdefgh"]),
        (" abcdefgh\n", [" abcdefgh\n", "abcdefgh"]),
        ("abcdefgh\nshort\n", ["abcdefgh\nshort\n", "abcdefgh\nshort", "abcdefgh", "abcdefghshort"]),
        ("-----BEGIN X-----\nYWI=\n-----END X-----", ["-----BEGIN X-----\nYWI=\n-----END X-----"]),
        (
            "-----BEGIN X-----\nYWJjZGVm\nZ2hpag==\n-----END X-----",
            [
                "-----BEGIN X-----\nYWJjZGVm\nZ2hpag==\n-----END X-----",
                "YWJjZGVm",
                "Z2hpag==",
                "YWJjZGVmZ2hpag==",
                "abcdefghij",
            ],
        ),
        ("  ", ["  "]),
        ("", [""]),
    ],
)
def test_a_value_is_known_stripped_and_by_its_longer_lines(value, known):
    assert list(dict.fromkeys(variants(value))) == known
