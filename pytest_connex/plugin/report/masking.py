"""Masking secrets in what pytest reports: tracebacks, shown locals, captured output, warnings and logs.

Reports and log records are masked where they are made, so that every plugin gets them masked. What reaches the
terminal or the JUnit XML file on another way is masked there. What a test prints while nothing is captured
(``-s``) goes past pytest, and is not.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from warnings import WarningMessage

import pytest

from ...secrets.redaction import Redactor

MIN_LENGTH = 4
"""Shorter values are not masked: they would tear holes into innocent text."""

MIN_CUT = 6
"""Of a value that is cut off by an ellipsis, this many characters or more are masked."""

_SHOWN_AS = "***"
_ELLIPSES = ("...", "…")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_XML_DECLARATION = '<?xml version="1.0" encoding="utf-8"?>'

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


class Masking:
    """Hides values, from the moment it knows them, in reports, on the terminal and in log records.

    Args:
        fields: Names of members whose values are hidden whatever they are.
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._fields = fields
        self._values: dict[str, str] = {}
        self._spellings: tuple[str, ...] = ()
        self._lock = threading.Lock()
        self._redactor = Redactor({}, fields)
        self._make_record = logging.getLogRecordFactory()
        self._xml: Path | None = None

    def hide(self, *values: str | None) -> None:
        """Add values, from any thread."""
        with self._lock:
            self._hide(values)

    def _hide(self, values: Iterable[str | None]) -> None:
        self._values.update((value, _SHOWN_AS) for value in values if value and len(value) >= MIN_LENGTH)
        spellings = {spelling for value in self._values for spelling in _shown_spellings(value)}
        self._spellings = tuple(sorted(spellings, key=len, reverse=True))
        self._redactor = Redactor(self._values, self._fields)

    def hide_fields(self, fields: Iterable[str]) -> None:
        """Add names of members whose values are hidden whatever they are."""
        self._fields = tuple(dict.fromkeys((*self._fields, *fields)))
        self.hide()

    def mask(self, text: str) -> str:
        """Return ``text`` as it may be shown; where a value is in coloured text, the colours go too."""
        if "\x1b" in text:
            bare = _COLOUR.sub("", text)
            masked = self._mask_bare(bare)
            return text if masked == bare else masked
        return self._mask_bare(text)

    def install(self) -> None:
        """Mask log records as they are made, so that live logs and log files hold no secret either."""
        logging.setLogRecordFactory(self._record)

    # hooks

    def pytest_configure(self, config: pytest.Config) -> None:
        """Mask what is written to the terminal from now on; pytest calls this when the plugin is registered."""
        if config.pluginmanager.has_plugin("terminalreporter"):
            writer = config.get_terminal_writer()
            writer.write = self._masking(writer.write)  # type: ignore[method-assign]
        path = config.getoption("xmlpath", None)
        if path and not hasattr(config, "workerinput"):
            self._xml = Path(os.path.expandvars(path)).expanduser().absolute()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Mask the report of a test."""
        return self._mask_report((yield))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Mask the report of a collection."""
        return self._mask_report((yield))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Mask what was added to the report since it was made, and the report of a subtest."""
        self._mask_report(report)

    @pytest.hookimpl(tryfirst=True)
    def pytest_warning_recorded(self, warning_message: WarningMessage) -> None:
        """Mask a warning before it is summed up, or sent to the controller of a distributed run."""
        said = str(warning_message.message)
        shown = self.mask(said)
        if shown != said:
            warning_message.message = Warning(shown)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        """Mask the JUnit XML file, which is written here and holds properties and names that no report has."""
        try:
            return (yield)
        finally:
            if self._xml is not None and self._xml.is_file():
                self._mask_xml(self._xml)

    def pytest_unconfigure(self) -> None:
        """Leave logging as it was; the writer of the terminal still has something to say."""
        if logging.getLogRecordFactory() == self._record:
            logging.setLogRecordFactory(self._make_record)

    # inside

    def _mask_bare(self, text: str) -> str:
        text = self._redactor.text(text)
        for ellipsis in _ELLIPSES:
            if ellipsis in text:
                text = _mask_cut(text, ellipsis, self._spellings)
        return text

    def _masking(self, write: Callable[..., None]) -> Callable[..., None]:
        def masked(msg: str, **options: bool) -> None:
            write(self.mask(msg), **options)

        return masked

    def _mask_report(self, report: _Report) -> _Report:
        report.sections = [(name, self.mask(text)) for name, text in report.sections]
        report.longrepr = self._masked(report.longrepr, set())
        for name in ("user_properties", "wasxfail"):
            if hasattr(report, name):
                setattr(report, name, self._masked(getattr(report, name), set()))
        self._mask_subtest(getattr(report, "context", None))
        return report

    def _mask_subtest(self, context: object) -> None:
        """Mask the message and the arguments of a subtest, which pytest keeps in a frozen dataclass."""
        if dataclasses.is_dataclass(context):
            for field in dataclasses.fields(context):
                object.__setattr__(context, field.name, self._masked(getattr(context, field.name), set()))

    def _masked(self, value: Any, seen: set[int]) -> Any:
        """Return ``value`` masked: text, bytes and containers anew, pytest's own objects changed in place."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, bytes):
            return self._redactor.binary(value)
        if isinstance(value, dict):
            return {self._masked(key, seen): self._masked(item, seen) for key, item in value.items()}
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            return type(value)(self._masked(item, seen) for item in value)
        if not hasattr(value, "__dict__") or isinstance(value, (type, TracebackType)) or id(value) in seen:
            return value
        seen.add(id(value))
        for name, inner in list(vars(value).items()):
            if isinstance(inner, (str, list, tuple)) or type(inner).__module__.startswith("_pytest."):
                setattr(value, name, self._masked(inner, seen))
        return value

    def _mask_xml(self, path: Path) -> None:
        from xml.etree import ElementTree

        written = path.read_text("utf-8")
        try:
            root = ElementTree.fromstring(written)  # noqa: S314  (pytest has written it a moment ago)
        except ElementTree.ParseError:
            masked = self.mask(written)
        else:
            for element in root.iter():
                element.text, element.tail = self._masked(element.text, set()), self._masked(element.tail, set())
                element.attrib.update(self._masked(element.attrib, set()))
            masked = _XML_DECLARATION + ElementTree.tostring(root, encoding="unicode")
        if masked != written:
            path.write_text(masked, "utf-8")

    def _record(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record = self._make_record(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:  # noqa: BLE001  (a faulty call of a logger is the logging module's to report)
            return record
        masked = self.mask(message)
        if masked != message:
            record.msg, record.args = masked, None
        if record.exc_info and record.exc_info[0]:
            record.exc_text = self.mask(logging.Formatter().formatException(record.exc_info))
        return record


def hide_in_error(error: BaseException, *values: str | None) -> None:
    """Hide ``values`` in the arguments of ``error`` and of its causes.

    This is for the error of a ``conftest.py`` that pytest reads first: it is shown before there are reports.
    """
    masking = Masking(())
    masking.hide(*values)
    shown: BaseException | None = error
    while shown is not None:
        shown.args = tuple(masking.mask(value) if isinstance(value, str) else value for value in shown.args)
        shown = shown.__cause__ or shown.__context__


def _shown_spellings(value: str) -> Iterator[str]:
    """Yield how a value is shown in text, in ``repr`` of text or bytes, and in dumps of bytes."""
    raw = value.encode()
    yield from (value, raw.hex(), raw.hex(" "), json.dumps(value)[1:-1])
    yield from (repr(value)[1:-1], ascii(value)[1:-1], repr(raw)[2:-1])
    both_quotes = "'\""  # where both are in the text, repr escapes one of them
    yield from (repr(value + both_quotes)[1:-4], ascii(value + both_quotes)[1:-4])
    yield repr(raw + both_quotes.encode())[2:-4]


def _mask_cut(text: str, ellipsis: str, spellings: tuple[str, ...]) -> str:
    """Mask what an ellipsis has left of a value: its beginning before, and its end after."""
    pieces = text.split(ellipsis)
    for index, piece in enumerate(pieces):
        if index < len(pieces) - 1:
            piece = _mask_beginning(piece, spellings)
        pieces[index] = _mask_end(piece, spellings) if index else piece
    return ellipsis.join(pieces)


def _mask_beginning(piece: str, spellings: tuple[str, ...]) -> str:
    for spelling in spellings:
        for length in range(len(spelling) - 1, MIN_CUT - 1, -1):
            if piece.endswith(spelling[:length]):
                return piece[:-length] + _SHOWN_AS
    return piece


def _mask_end(piece: str, spellings: tuple[str, ...]) -> str:
    for spelling in spellings:
        for length in range(len(spelling) - 1, MIN_CUT - 1, -1):
            if piece.startswith(spelling[-length:]):
                return _SHOWN_AS + piece[length:]
    return piece
