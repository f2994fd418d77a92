"""Masking on pytest's own reports and on log records: what is hidden, and what is left as it was."""

from __future__ import annotations

import dataclasses
import html
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _pytest._io import TerminalWriter

from pytest_connex.plugin.report.masking import Masking, hide_in_error

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


UNUSUAL = "gehe1m-é鍵\"'\\&<>"


@pytest.mark.parametrize(
    "shown",
    [
        repr(UNUSUAL),
        ascii(UNUSUAL),
        repr(UNUSUAL.encode()),
        repr(repr(UNUSUAL)),
        UNUSUAL.encode().hex(" "),
        UNUSUAL.encode().decode("latin-1"),
        html.escape(UNUSUAL),
    ],
)
def test_a_value_is_masked_as_python_shows_it(shown):
    masking = Masking(())
    masking.hide(UNUSUAL)
    left = masking.mask(f"<{shown}>").translate(str.maketrans("", "", "\"'\\<>b "))
    assert left in ("***", "2a2a2a")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("TEXT 'yyys3cr3t/with+...zzz' [120 bytes]", "TEXT 'yyy***...zzz' [120 bytes]"),
        ("'yyys3cr3t/with+…zzz'", "'yyy***…zzz'"),
        ("'aaa...ial=chars=='", "'aaa...***'"),
        ("s3cr3t/...chars==", "***...***"),
        ("73 33 63 72 33 74 2...0 00", "***...0 00"),
        ("00 ... 61 72 73 3d 3d", "00 ...***"),
        ("a s3cr3t...", "a ***..."),
        ("a s3cr3 ...", "a s3cr3 ..."),
        ("a s3cr...", "a s3cr..."),
        ("...ars== b", "...ars== b"),
        ("loading... done...", "loading... done..."),
    ],
)
def test_what_an_ellipsis_leaves_of_a_value_is_masked(masking, text, shown):
    assert masking.mask(text) == shown


@pytest.mark.parametrize("value", ["it's/one+more", 'gehe1m-"é"', "kürzer-als"])
def test_what_an_ellipsis_leaves_of_a_representation_is_masked(value):
    masking = Masking(())
    masking.hide(value)
    for shown in (repr(value + "'\"")[1:-4], ascii(value)[1:-1], repr(value.encode())[2:-1]):
        assert masking.mask(f"{shown[:-1]}...") == "***..."


def test_a_value_in_coloured_text_is_masked_and_loses_its_colours(masking):
    coloured = "\x1b[33m's3cr3t\x1b[39;49;00m/with+special=\x1b[1mchars=='\x1b[0m"
    assert masking.mask(coloured) == "'***'"
    assert masking.mask("\x1b[33mother\x1b[0m") == "\x1b[33mother\x1b[0m"


# --- Reports ---------------------------------------------------------------------------------------------


def test_captured_output_is_masked(masking):
    report = reported(masking, sections=[("Captured stdout call", f"one {SECRET}\n"), ("Captured log call", "two")])
    assert report.sections == [("Captured stdout call", "one ***\n"), ("Captured log call", "two")]


def test_properties_are_masked_and_keep_their_names_and_kinds(masking):
    report = reported(
        masking, user_properties=[("secret", SECRET), ("all", [SECRET, ("a", SECRET)]), ("count", 3), ("none", None)]
    )
    assert report.user_properties == [("secret", "***"), ("all", ["***", ("a", "***")]), ("count", 3), ("none", None)]


def test_properties_of_bytes_and_nested_ones_are_masked(masking):
    nested = {"a": [{SECRET: SECRET.encode()}], "n": 1}
    report = reported(masking, user_properties=[("nested", nested)])
    assert report.user_properties == [("nested", {"a": [{"***": b"***"}], "n": 1})]
    assert nested["a"] == [{SECRET: SECRET.encode()}]


def test_the_reason_of_an_expected_failure_is_masked(masking):
    assert reported(masking, outcome="skipped", wasxfail=f"reason: {SECRET}").wasxfail == "reason: ***"


def test_what_was_added_to_a_report_is_masked_before_it_is_logged(masking):
    report = reported(masking)
    report.sections.append(("Captured stdout call", SECRET))
    masking.pytest_runtest_logreport(report)
    assert report.sections == [("Captured stdout call", "***")]


def test_the_message_and_the_arguments_of_a_subtest_are_masked(masking):
    @dataclasses.dataclass(frozen=True, slots=True)
    class Context:
        msg: str | None
        kwargs: dict[str, object]

    report = reported(masking, context=Context(f"with {SECRET}", {"value": repr(SECRET), "n": 1}))
    assert report.context == Context("with ***", {"value": "'***'", "n": 1})


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


@pytest.mark.parametrize("error", [UserWarning(f"told {SECRET}"), f"told {SECRET}"])
def test_a_warning_is_masked_and_keeps_its_category(masking, error):
    warning = warnings.WarningMessage(error, UserWarning, "test_x.py", 3)
    masking.pytest_warning_recorded(warning)
    assert (str(warning.message), warning.category) == ("told ***", UserWarning)


def test_another_warning_stays_the_object_it_is(masking):
    error = UserWarning("told")
    warning = warnings.WarningMessage(error, UserWarning, "test_x.py", 3)
    masking.pytest_warning_recorded(warning)
    assert warning.message is error


# --- The terminal, and files -----------------------------------------------------------------------------


class Run:
    """What :meth:`Masking.pytest_configure` asks of pytest's configuration."""

    def __init__(self, xml: Path | None = None) -> None:
        self.pluginmanager = self
        self.written = io.StringIO()
        self.writer = TerminalWriter(self.written)
        self.xml = xml

    def has_plugin(self, name: str) -> bool:
        return name == "terminalreporter" and self.written is not None

    def get_terminal_writer(self) -> TerminalWriter:
        return self.writer

    def getoption(self, name: str, default: object) -> object:
        return str(self.xml) if name == "xmlpath" and self.xml else default


def test_what_is_written_to_the_terminal_is_masked(masking):
    run = Run()
    masking.pytest_configure(run)
    run.writer.line(f"a {SECRET}", red=True)
    run.writer.sep("=", SECRET)
    run.writer.write("and more", flush=True)
    assert SECRET not in run.written.getvalue()
    assert run.written.getvalue().startswith("a ***\n===")
    assert run.writer.width_of_current_line == len("and more")


def test_a_run_without_a_terminal_has_nothing_to_mask(masking):
    run = Run()
    run.written = None
    masking.pytest_configure(run)
    assert "write" not in vars(run.writer)


def finished(masking: Masking, run: Run) -> None:
    masking.pytest_configure(run)
    wrapper = masking.pytest_sessionfinish()
    next(wrapper)
    with pytest.raises(StopIteration):
        next(wrapper)


XML = (
    '<?xml version="1.0" encoding="utf-8"?>'
    '<testsuites name="é"><testcase name="{0}">{0}<p a="1" />{0}</testcase></testsuites>'
)


def test_the_junit_file_is_masked_where_xml_escapes_a_value_too(masking, tmp_path):
    path = tmp_path / "junit.xml"
    masking.hide(UNUSUAL)
    path.write_text(XML.format(f"{html.escape(UNUSUAL)} {SECRET}"), "utf-8")
    finished(masking, Run(path))
    assert path.read_text("utf-8") == XML.format("*** ***")


def test_a_parameter_at_the_end_of_an_element_leaves_the_xml_whole(masking, tmp_path):
    path = tmp_path / "junit.xml"
    path.write_text(XML.format("?signature=abc"), "utf-8")
    finished(masking, Run(path))
    assert path.read_text("utf-8") == XML.format("?signature=connex-recorded-signature")


def test_a_junit_file_that_was_not_finished_is_masked_as_text(masking, tmp_path):
    path = tmp_path / "junit.xml"
    path.write_text(f"<testsuites><testcase>{SECRET}", "utf-8")
    finished(masking, Run(path))
    assert path.read_text("utf-8") == "<testsuites><testcase>***"


def test_a_junit_file_without_a_secret_is_not_written_again(masking, tmp_path):
    path = tmp_path / "junit.xml"
    path.write_text(XML.format("x"), "utf-8")
    path.chmod(0o400)
    before = path.stat().st_mtime_ns
    finished(masking, Run(path))
    assert path.stat().st_mtime_ns == before


def test_no_junit_file_is_no_error(masking, tmp_path):
    finished(masking, Run(tmp_path / "junit.xml"))
    assert list(tmp_path.iterdir()) == []


def test_a_worker_leaves_the_junit_file_to_the_controller(masking, tmp_path):
    path = tmp_path / "junit.xml"
    path.write_text(XML.format(SECRET), "utf-8")
    run = Run(path)
    run.workerinput = {}
    finished(masking, run)
    assert path.read_text("utf-8") == XML.format(SECRET)


def test_the_junit_file_is_masked_when_the_session_ends_with_an_error(masking, tmp_path):
    path = tmp_path / "junit.xml"
    path.write_text(XML.format(SECRET), "utf-8")
    masking.pytest_configure(Run(path))
    wrapper = masking.pytest_sessionfinish()
    next(wrapper)
    with pytest.raises(RuntimeError):
        wrapper.throw(RuntimeError("ended"))
    assert path.read_text("utf-8") == XML.format("***")


def test_an_error_and_its_causes_are_masked():
    error, cause = RuntimeError(f"wrong: {SECRET}", 7), ValueError(SECRET)
    error.__cause__, cause.__context__ = cause, KeyError(SECRET)
    hide_in_error(error, SECRET, None)
    assert (error.args, cause.args, cause.__context__.args) == (("wrong: ***", 7), ("***",), ("***",))


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


def test_further_members_can_be_hidden():
    masking = Masking(("token",))
    masking.hide_fields(["otp"])
    masked = masking.mask('{"otp": "123456", "token": "abc", "n": 1}')
    assert "123456" not in masked
    assert "abc" not in masked
    assert masked.endswith('"n": 1}')
