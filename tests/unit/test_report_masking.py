"""Masking on pytest's own reports and on log records: what is hidden, and what is left as it was."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest

from pytest_connex.report.masking import Masking

SECRET = "s3cr3t/with+special=chars=="


@pytest.fixture
def masking() -> Masking:
    made = Masking(("signature",))
    made.hide(SECRET)
    return made


def through(hook: Callable, report: pytest.TestReport | pytest.CollectReport):
    """Return what a wrapping hook makes of a report."""
    wrapper = hook()
    next(wrapper)
    with pytest.raises(StopIteration) as caught:
        wrapper.send(report)
    return caught.value.value


def reported(masking: Masking, **changed: object) -> pytest.TestReport:
    facts = {"keywords": {}, "outcome": "failed", "longrepr": None, "when": "call"}
    report = pytest.TestReport("test_x.py::test_y", ("test_x.py", 1, "test_y"), **{**facts, **changed})
    return through(masking.pytest_runtest_makereport, report)


def traceback_of(error: Exception, **options: object):
    """Raise ``error`` where a local holds the secret, and return what pytest makes of that."""
    held = [SECRET]
    try:
        raise error
    except Exception as exc:
        return pytest.ExceptionInfo.from_exception(exc).getrepr(**options), held


# --- Text ------------------------------------------------------------------------------------------------


def test_a_known_value_is_masked_wherever_it_stands(masking):
    assert masking.mask(f"a {SECRET} and {SECRET}.") == "a *** and ***."


def test_a_known_value_is_masked_in_other_spellings(masking):
    assert masking.mask("s3cr3t%2Fwith%2Bspecial%3Dchars%3D%3D") == "***"


def test_the_value_of_a_secret_member_is_masked_whatever_it_is(masking):
    assert masking.mask('{"signature": "00ff", "n": 1}') == '{"signature": "connex-recorded-signature", "n": 1}'


def test_other_text_is_as_it_was(masking):
    assert masking.mask("s3cr3t and special") == "s3cr3t and special"


def test_a_value_is_masked_from_the_moment_it_is_known():
    masking = Masking(())
    before = masking.mask("hunter2")
    masking.hide("hunter2")
    assert (before, masking.mask("hunter2")) == ("hunter2", "***")


def test_values_add_up(masking):
    masking.hide("hunter2", "swordfish")
    assert masking.mask(f"{SECRET} hunter2 swordfish") == "*** *** ***"


def test_a_value_within_another_leaves_no_rest(masking):
    masking.hide("hunter", "hunter2-and-more")
    assert masking.mask("hunter2-and-more") == "***"


@pytest.mark.parametrize(("value", "shown"), [("abcd", "***"), ("abc", "abc")])
def test_values_of_four_characters_or_more_are_masked(masking, value, shown):
    masking.hide(value)
    assert masking.mask(value) == shown


@pytest.mark.parametrize("value", [None, ""])
def test_no_value_masks_nothing(masking, value):
    masking.hide(value)
    assert masking.mask("None, or nothing") == "None, or nothing"


# --- Reports ---------------------------------------------------------------------------------------------


def test_captured_output_is_masked(masking):
    report = reported(masking, sections=[("Captured stdout call", f"one {SECRET}\n"), ("Captured log call", "two")])
    assert report.sections == [("Captured stdout call", "one ***\n"), ("Captured log call", "two")]


def test_properties_are_masked_and_keep_their_names_and_kinds(masking):
    report = reported(
        masking, user_properties=[("secret", SECRET), ("all", [SECRET, ("a", SECRET)]), ("count", 3), ("none", None)]
    )
    assert report.user_properties == [("secret", "***"), ("all", ["***", ("a", "***")]), ("count", 3), ("none", None)]


def test_the_reason_of_a_skip_is_masked(masking):
    report = reported(masking, outcome="skipped", longrepr=("test_x.py", 3, f"Skipped: {SECRET}"))
    assert report.longrepr == ("test_x.py", 3, "Skipped: ***")


def test_a_representation_that_is_text_is_masked(masking):
    assert reported(masking, longrepr=f"failed with {SECRET}").longrepr == "failed with ***"


def test_a_report_without_a_representation_has_none(masking):
    assert reported(masking, outcome="passed").longrepr is None


@pytest.mark.parametrize("style", ["long", "short", "line", "no", "native", "value"])
def test_a_traceback_is_masked_in_every_style(masking, style):
    representation, _ = traceback_of(ValueError(f"wrong: {SECRET}"), style=style, showlocals=True)
    shown = str(reported(masking, longrepr=representation).longrepr)
    assert SECRET not in shown
    assert style == "no" or "wrong: ***" in shown


def test_shown_locals_are_masked(masking):
    representation, held = traceback_of(ValueError("wrong"), style="long", showlocals=True)
    shown = str(reported(masking, longrepr=representation).longrepr)
    assert "held       = ['***']" in shown
    assert held == [SECRET]


def test_the_causes_of_an_error_are_masked(masking):
    error = ValueError("wrong")
    error.__cause__ = KeyError(SECRET)
    representation, _ = traceback_of(error, style="long")
    shown = str(reported(masking, longrepr=representation).longrepr)
    assert SECRET not in shown
    assert "KeyError: '***'" in shown


def test_the_line_of_the_short_summary_is_masked(masking):
    representation, _ = traceback_of(ValueError(SECRET))
    assert reported(masking, longrepr=representation).longrepr.reprcrash.message == "ValueError: ***"


def test_a_representation_that_holds_itself_is_masked_once(masking):
    representation, _ = traceback_of(ValueError(SECRET), style="long")
    representation.reprtraceback.again = representation
    masked = reported(masking, longrepr=representation).longrepr
    assert masked.reprcrash.message == "ValueError: ***"


def test_the_report_of_a_collection_is_masked(masking):
    report = pytest.CollectReport(
        "test_x.py", "failed", f"ImportError: {SECRET}", None, [("Captured stdout", f"one {SECRET}")]
    )
    masked = through(masking.pytest_make_collect_report, report)
    assert (masked.longrepr, masked.sections) == ("ImportError: ***", [("Captured stdout", "one ***")])


# --- Logs ------------------------------------------------------------------------------------------------


class Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@pytest.fixture
def factory() -> Iterator[Callable[..., logging.LogRecord]]:
    """The factory of log records before anything is masked; it is put back."""
    before = logging.getLogRecordFactory()
    yield before
    logging.setLogRecordFactory(before)


@pytest.fixture
def installed(factory, masking: Masking) -> Masking:
    masking.install()
    return masking


@pytest.fixture
def logger() -> logging.Logger:
    """One that nobody else knows."""
    made = logging.Logger("of-the-test")
    made.addHandler(Kept())
    return made


def only_record(logger: logging.Logger) -> logging.LogRecord:
    [record] = logger.handlers[0].records
    return record


@pytest.mark.parametrize(
    ("message", "args"), [("sent %s", (SECRET,)), (f"sent {SECRET}", ()), ("sent %(key)s", ({"key": SECRET},))]
)
def test_the_message_of_a_record_is_masked(installed, logger, message, args):
    logger.error(message, *args)
    record = only_record(logger)
    assert (record.getMessage(), record.args or None) == ("sent ***", None)


def test_a_record_without_a_secret_keeps_its_arguments(installed, logger):
    logger.error("sent %d", 7)
    record = only_record(logger)
    assert (record.msg, record.args) == ("sent %d", (7,))


def test_a_masked_message_with_a_percent_sign_is_shown_as_it_is(installed, logger):
    logger.error("100%% of %s", SECRET)
    assert only_record(logger).getMessage() == "100% of ***"


def test_the_traceback_of_a_record_is_masked(installed, logger):
    try:
        raise ValueError(SECRET)
    except ValueError:
        logger.exception("failed")
    assert logging.Formatter("%(message)s").format(only_record(logger)).endswith("ValueError: ***")


def test_a_record_with_exc_info_and_no_exception_has_no_traceback(installed, logger):
    logger.error("failed", exc_info=(None, None, None))
    assert only_record(logger).exc_text is None


def test_a_faulty_call_of_a_logger_is_left_to_logging(installed, logger):
    logger.error("%d", "seven")
    record = only_record(logger)
    assert (record.msg, record.args) == ("%d", ("seven",))


def test_records_come_from_the_factory_that_was_there(factory, logger):
    class Mine(logging.LogRecord):
        pass

    logging.setLogRecordFactory(Mine)
    masking = Masking(())
    masking.install()
    logger.error("sent")
    assert type(only_record(logger)) is Mine


def test_logging_is_left_as_it_was(factory, installed):
    installed.pytest_unconfigure()
    assert logging.getLogRecordFactory() is factory


def test_a_factory_that_somebody_installed_later_stays(factory, installed):
    class Later(logging.LogRecord):
        pass

    logging.setLogRecordFactory(Later)
    installed.pytest_unconfigure()
    assert logging.getLogRecordFactory() is Later


def test_masking_that_was_never_installed_leaves_the_factory_alone(factory, masking):
    masking.pytest_unconfigure()
    assert logging.getLogRecordFactory() is factory
