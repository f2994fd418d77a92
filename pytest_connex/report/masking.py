"""Masking secrets in what pytest reports: tracebacks, shown locals, captured output and logs."""

from __future__ import annotations

import logging
from collections.abc import Generator
from types import TracebackType
from typing import Any, TypeVar

import pytest

from ..cassette.redaction import Redactor

MIN_LENGTH = 4
"""Shorter values are not masked: they would tear holes into innocent text."""

_SHOWN_AS = "***"

_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


class Masking:
    """Hides values, from the moment it knows them, in reports and in log records.

    Args:
        fields: Names of members whose values are hidden whatever they are.
    """

    def __init__(self, fields: tuple[str, ...]) -> None:
        self._fields = fields
        self._values: dict[str, str] = {}
        self._redactor = Redactor({}, fields)
        self._make_record = logging.getLogRecordFactory()

    def hide(self, *values: str | None) -> None:
        """Add values."""
        self._values.update((value, _SHOWN_AS) for value in values if value and len(value) >= MIN_LENGTH)
        self._redactor = Redactor(self._values, self._fields)

    def mask(self, text: str) -> str:
        """Return ``text`` as it may be shown."""
        return self._redactor.text(text)

    # hooks

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Mask the report of a test."""
        report = yield
        report.user_properties = [(name, self._masked(value, set())) for name, value in report.user_properties]
        return self._mask_report(report)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        """Mask the report of a collection."""
        report = yield
        return self._mask_report(report)

    def pytest_unconfigure(self) -> None:
        """Leave logging as it was."""
        if logging.getLogRecordFactory() == self._record:
            logging.setLogRecordFactory(self._make_record)

    def install(self) -> None:
        """Mask log records as they are made, so that live logs and log files hold no secret either."""
        logging.setLogRecordFactory(self._record)

    # inside

    def _mask_report(self, report: _Report) -> _Report:
        report.sections = [(name, self.mask(text)) for name, text in report.sections]
        report.longrepr = self._masked(report.longrepr, set())
        return report

    def _masked(self, value: Any, seen: set[int]) -> Any:
        """Return ``value`` masked: strings and containers anew, pytest's own objects changed in place."""
        if isinstance(value, str):
            return self.mask(value)
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            return type(value)(self._masked(item, seen) for item in value)
        if not hasattr(value, "__dict__") or isinstance(value, (type, TracebackType)) or id(value) in seen:
            return value
        seen.add(id(value))
        for name, inner in list(vars(value).items()):
            if isinstance(inner, (str, list, tuple)) or type(inner).__module__.startswith("_pytest."):
                setattr(value, name, self._masked(inner, seen))
        return value

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
