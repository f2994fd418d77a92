"""The spellings of one secret value."""

from __future__ import annotations

import base64

import pytest

from pytest_connex.cassette.spellings import Spellings, has_escapes


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
