"""Searching what is about to be written for secrets, through everything that they may be wrapped in.

Replacing touches only what it can replace to the character. The search goes further, because whatever it finds
is refused: it undoes escapes (:mod:`~pytest_connex.secrets.escapes`), encodings
(:mod:`~pytest_connex.secrets.unwrapping`) and compression (:mod:`~pytest_connex.secrets.inflating`), one inside the
other.
"""

from __future__ import annotations

import string
from collections.abc import Iterable, Iterator, Sequence

from .allowance import Allowance
from .escapes import stages
from .inflating import inflated
from .matcher import Matcher
from .reading import WHITE_SPACE, Reading, parts
from .spellings import Spellings
from .unwrapping import LONG, SHAPE, decoded, rewritten, runs, spaced_digits

_DEPTH = 5
"""How many encodings, one inside the other, are undone."""

_PLAIN = WHITE_SPACE + string.printable.encode().translate(None, b"\\%&\v\f")
_GLANCE = bytes(shape if code in _PLAIN else ord("?") for code, shape in enumerate(SHAPE))
"""Shows the runs of what may be base64, too, and with ``?`` all that may be an escape or is no ASCII text."""

_LOWER = bytes(range(256)).lower()
_BETWEEN_DIGITS = WHITE_SPACE + b":-"
_DIGITS = bytes(ord("x") if code in b"0123456789ABCDEFabcdef" + _BETWEEN_DIGITS else 32 for code in range(256))

_SHORT = 64
_REMEMBERED = 10_000
"""So many short runs of what may be base64 are remembered that hold nothing: most are names, and come again."""

_ESCAPING = b"%\\& "
"""What begins an escape, or a space, which forms write in two ways."""

_SHARED = 8
"""So many characters at each end of a secret may be taken for a part of an escape that begins, or ends, beside it."""


class Search:
    """Finds secrets.

    Args:
        secrets: The spellings of each.
    """

    def __init__(self, secrets: Iterable[Spellings]) -> None:
        self._secrets = tuple(secrets)
        forms = [(form, number) for number, secret in enumerate(self._secrets) for form in _forms(secret)]
        digits = [(form, number) for number, secret in enumerate(self._secrets) for form in _digits(secret)]
        self._forms, self._of_form = Matcher(form for form, _ in forms), [number for _, number in forms]
        self._digits, self._of_digits = Matcher(form for form, _ in digits), [number for _, number in digits]
        self._awkward = dict(_awkward(self._secrets))
        self._quoted = any('\\"' in secret.value for secret in self._secrets)
        self._harmless: set[bytes] = set()
        self.readable = Reading(b"".join(form for form, _ in forms), min((len(form) for form, _ in forms), default=1))

    def passes(self, data: bytes) -> bool:
        """Tell at a glance that no secret is in lines of text, each a document of its own; False is no answer."""
        shape = data.translate(_GLANCE)
        return not (b"?" in shape or LONG in shape or any(spaced_digits(data)) or self._is_in(data))

    def spelled(self, data: bytes) -> list[int]:
        """Return the numbers of the secrets that may be in ``data``, as they are or escaped; not what it wraps."""
        found: set[int] = set()
        data = bare = self.readable(data)
        for bare in stages(data, self._quoted):
            found.update(self._of_form[number] for number in self._forms.found(bare))
            found.update(self._of_digits[number] for number in self._digits.found(_digits_in(bare)))
        found.update(self._escaped_in(data, bare))
        return sorted(found)

    def shows(self, data: bytes) -> bool:
        """Tell whether a secret is in ``data``, as it is or escaped; not in what it wraps."""
        return self._looked_into([data])[2]

    def finds(self, data: bytes, separate: bool = False) -> bool:
        """Tell whether a secret is in ``data``, as it is or encoded.

        Args:
            data: What to search.
            separate: Whether its lines are documents of their own, so that nothing goes on from one to the next.

        Raises:
            TooMuch: It holds compressed data that nobody can look into.
        """
        if not self._secrets:
            return False
        allowance, pieces = Allowance(len(data)), [data]
        first: list[bytes] = []
        for depth in range(_DEPTH + 1):
            text, plain, found = self._looked_into(pieces)
            if found:
                return True
            if depth == _DEPTH:
                break
            separate = separate and depth == 0 and text.count(b"\n") == plain.count(b"\n")
            encoded = [run for run in runs(plain) if run not in self._harmless]
            first = first if depth else encoded
            pieces = [each for piece in pieces for each in inflated(piece, allowance)]
            pieces += [each for run in encoded for each in decoded(run, allowance)]
            pieces += map(allowance.of, rewritten(plain, separate))
            if not pieces:
                break
        if len(self._harmless) < _REMEMBERED:
            self._harmless.update(run for run in first if len(run) <= _SHORT)
        return False

    def _looked_into(self, pieces: Sequence[bytes]) -> tuple[bytes, bytes, bool]:
        """Return the text of pieces, the same without escapes, and whether a secret is in them."""
        text = plain = self.readable(*pieces)
        for plain in stages(text, self._quoted):
            if self._is_in(plain):
                return text, plain, True
        return text, plain, any(True for _ in self._escaped_in(text, plain))

    def _is_in(self, data: bytes) -> bool:
        return self._forms.is_any_in(data) or self._digits.is_any_in(_digits_in(data))

    def _escaped_in(self, text: bytes, plain: bytes) -> Iterator[int]:
        """Yield the numbers of secrets with signs of escapes in them that are in ``text``, maybe escaped in part."""
        if not self._awkward or plain is text:
            return
        bare, written = _bare(plain), text.decode("utf-8", "surrogateescape")
        for number, (whole, core) in self._awkward.items():
            undone = len(whole) >= _SHARED and whole in bare
            if undone or (core in bare and self._secrets[number].escaped.search(written)):
                yield number


def _forms(secret: Spellings) -> Iterator[bytes]:
    """Yield how a value is written but for escapes and hexadecimal."""
    for text in secret.plain:
        yield text.encode("utf-8", "surrogateescape")
    for encoded in secret.base64:
        for core in encoded.cores:
            yield core.encode()
    for end in ("le", "be"):
        yield secret.value.encode(f"utf-16-{end}")


def _digits(secret: Spellings) -> Iterator[bytes]:
    for form in secret.hexadecimal:
        if not form.separator:
            yield form.digits.encode()


def _awkward(secrets: Sequence[Spellings]) -> Iterator[tuple[int, tuple[bytes, bytes]]]:
    """Yield the numbers of secrets that may be escaped so that undoing it does not lead back to them.

    With each comes what it is when all that looks like an escape is undone in it too, and what of that must be there
    whatever stands beside it.
    """
    for number, secret in enumerate(secrets):
        bare = _bare(secret.value.encode())
        if not secret.value.isascii():  # one character may be written in Latin-1, the next one in UTF-8
            yield number, (bare, b"")
        elif {*_ESCAPING} & {*secret.value.encode()}:
            yield number, (bare, bare[_SHARED:-_SHARED])


def _digits_in(data: bytes) -> bytes:
    """Return the longer runs of hexadecimal digits, in lower case and without what is between them."""
    shape = data.translate(_DIGITS)
    if LONG not in shape:
        return b""
    return b" ".join(run.translate(_LOWER, _BETWEEN_DIGITS) for run in parts(data, shape, LONG))


def _bare(data: bytes) -> bytes:
    """Return ``data`` with all escapes undone, without what may begin one, and without a form's spaces."""
    *_, bare = stages(data)
    return bare.translate(None, _ESCAPING + b"+")
