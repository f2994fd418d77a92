"""Values whose names say that they are secret: members of JSON, parameters of forms and queries, and cookies.

Each is replaced where it stands, whatever it is, and nothing beside it. What is read once is not read again, so that
no text takes longer than its length.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Protocol, TypeAlias

from .matcher import Matcher

PLACEHOLDERS = "connex-recorded-"
"""So begins everything that takes the place of a secret."""

_FOLDED = re.compile(r"(,(?=\s*[^=;,\s]+=)|\n)")
"""Where another cookie begins in one header: a date has a comma too, and no equals sign behind it."""

_SPACE = r"(?:\s|\\++[nrt])*+"
_PAST_SPACE, _PAST_COLON, _PAST_COMMA = (re.compile(_SPACE + more) for more in ("", f":{_SPACE}", f",?{_SPACE}"))
_USERINFO = re.compile(r"(?P<before>:\\*+/\\*+/[^\s/?#@:\"\\]*+:)(?P<value>[^\s/?#@\"\\]++)(?=@)")
_AUTHORITY = re.compile(rb":\\*+/\\*+/")
_NUMBER = re.compile(r"-?[0-9][0-9.eE+-]*+")


class Fit(Protocol):
    """Makes a placeholder fit to what it replaces, with ``pad`` where more is needed."""

    def __call__(self, placeholder: str, replaced: str, pad: str = ..., /) -> str:
        """Return what takes the place of ``replaced``."""


Shown: TypeAlias = Callable[[str, str], str]
"""Returns what takes the place of a value: of its name, and of the value as it is written."""


def placeholder_of(name: str) -> str:
    """Return what takes the place of values of this name."""
    return f"{PLACEHOLDERS}{name.lower()}"


def placeholders(names: Iterable[str]) -> re.Pattern[str]:
    """Return a pattern for a value that has been replaced as a whole.

    It may be behind the scheme of an authorization, and in binary data be filled up to the length of what was there.
    """
    name = f"(?:[a-z0-9_]+|{_any_of(tuple(names))})"
    return re.compile(rf'\s*"?(?:[A-Za-z]+ +)?{PLACEHOLDERS}{name}(?:-[0-9]+)?-*"?\s*')


class Members:
    """Replaces the values of members and parameters.

    Args:
        names: Their names, in any case.
    """

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(name.lower() for name in names)
        self.shortest = min((len(name) for name in self.names), default=1)
        self._known = Matcher(name.encode() for name in self.names)
        named = f"(?P<name>(?i:{_any_of(self.names)}))"
        self._member = re.compile(rf'"{named}(?P<escape>\\*+)"')
        self._parameter = re.compile(
            rf'(?P<before>(?:^|[?&"\s]|\\u0026){named}=)(?P<value>(?:[^&\s"#\\]|\\++(?:/|u(?!0026)))++)'
        )

    def may_be_in(self, text: str) -> bool:
        """Tell whether any of the names is in ``text``."""
        return self._known.is_any_in(text.lower().encode("utf-8", "surrogatepass"))

    def may_be_in_bytes(self, data: bytes) -> bool:
        """Tell whether any of the names is in ``data``: letters beyond ASCII in the same case only."""
        return self._known.is_any_in(data.lower())

    def of(self, document: object) -> Iterator[tuple[str, object]]:
        """Yield the name and the value of each of these members in a document, at any depth, where there is any."""
        waiting = [document]
        while waiting:
            match waiting.pop():
                case Mapping() as members:
                    for name, value in members.items():
                        if str(name).lower() in self.names:
                            listed = value if isinstance(value, list | tuple) else [value]
                            yield from (
                                (str(name), each) for each in listed if each not in (None, "", b"", True, False)
                            )
                        else:
                            waiting.append(value)
                case list() | tuple() as items:
                    waiting += items

    def replace(self, text: str, shown: Shown, fit: Fit) -> str:
        """Return ``text`` with their values replaced."""
        if not self.may_be_in(text):
            return text
        text = "".join(self._replaced(text, shown, fit))
        return self._parameter.sub(partial(_parameter, shown, fit), text) if "=" in text else text

    def _replaced(self, text: str, shown: Shown, fit: Fit) -> Iterator[str]:
        """Yield ``text`` in parts, with the values of members replaced: strings, lists of strings and numbers."""
        done = 0
        while name := self._member.search(text, done):
            quote = name["escape"] + '"'
            colon = _PAST_COLON.match(text, name.end())
            if colon is None or not text.endswith(quote, 0, name.start() + 1):
                yield text[done : name.end() - 1]
                done = name.end() - 1  # this quote may be the first one of a name
                continue
            value = colon.end()
            yield text[done:value]
            done = value
            if text.startswith("[", value):
                for start, end in _listed(text, value + 1, quote):
                    yield text[done:start] + _string(shown, fit, name["name"], text[start:end])
                    done = end
            elif text.startswith(quote, value):
                start, end = value + len(quote), _end(text, value + len(quote), quote)
                yield text[done:start] + _string(shown, fit, name["name"], text[start:end])
                done = end
            elif number := _NUMBER.match(text, value):
                yield fit("0", number[0], "0")
                done = number.end()
        yield text[done:]


def _string(shown: Shown, fit: Fit, name: str, written: str) -> str:
    return fit(shown(name, written), written)


def _end(text: str, start: int, quote: str) -> int:
    r"""Return where a JSON string ends whose first character is at ``start``.

    Args:
        text: What it is in.
        start: Where.
        quote: A quote as it is written there: with no backslash before it, or with ``\`` where the JSON stands
            inside a JSON string, ``\\\`` inside two, and so on. What is escaped in the string has more of them.
    """
    before = start
    while (place := text.find('"', before)) >= 0:
        unescaped = before + len(text[before:place].rstrip("\\"))
        backslashes = (place - unescaped) % (2 * len(quote))
        if backslashes == len(quote) - 1:
            return place - backslashes
        if backslashes != 2 * len(quote) - 1:
            return unescaped  # what it stands in ends here
        before = place + 1
    return len(text)


def _listed(text: str, start: int, quote: str) -> Iterator[tuple[int, int]]:
    """Yield where each string of a list begins and ends; the list begins at ``start``."""
    space = _PAST_SPACE.match(text, start)
    while space and text.startswith(quote, space.end()):
        first = space.end() + len(quote)
        last = _end(text, first, quote)
        yield first, last
        space = _PAST_COMMA.match(text, last + len(quote)) if text.startswith(quote, last) else None


def _parameter(shown: Shown, fit: Fit, match: re.Match[str]) -> str:
    return match["before"] + fit(shown(match["name"], match["value"]), match["value"])


def may_have_password(data: bytes) -> bool:
    """Tell whether there may be a URL with a password in ``data``."""
    return b"@" in data and bool(_AUTHORITY.search(data))


def replace_passwords(text: str, shown: Shown, fit: Fit) -> str:
    """Return ``text`` with the passwords replaced that stand in URLs before the host (RFC 3986)."""
    if "@" not in text:
        return text
    return _USERINFO.sub(lambda match: match["before"] + fit(shown("password", match["value"]), match["value"]), text)


def replace_cookies(shown: Shown, header: str, value: str) -> str:
    """Return what a header with cookies shows (RFC 6265): their names, and the attributes of those that are set."""
    if header.lower() == "cookie":
        return ";".join(_cookie(shown, header, pair) for pair in value.split(";"))
    parts = _FOLDED.split(value)  # some write several into one header
    for place in range(0, len(parts), 2):
        pair, semicolon, attributes = parts[place].partition(";")
        parts[place] = _cookie(shown, header, pair) + semicolon + attributes
    return "".join(parts)


def _cookie(shown: Shown, header: str, pair: str) -> str:
    name, equals, value = pair.partition("=")
    if not equals:
        return shown(header, pair) if pair.strip() else pair
    return f"{name}={shown(name.strip(), value)}" if value.strip() else pair


def _any_of(names: tuple[str, ...]) -> str:
    return "|".join(map(re.escape, names))
