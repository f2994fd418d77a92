"""How a verdict becomes the result of its test, on tests that never run."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_connex.config import ConnexConfig
from pytest_connex.errors import CassetteError, CassetteMismatch, CassetteMissing
from pytest_connex.plugin.options import RunOptions
from pytest_connex.plugin.run import RUN, Run
from pytest_connex.plugin.verdict import judged, raise_verdict

OPTIONS = RunOptions("recorded", None, Path("/project/cassettes"), 5.0, "fail", False, 7, 0.05, {})


def item_of(function: object = None, rootpath: Path = Path("/project"), **options: Any) -> SimpleNamespace:
    config = SimpleNamespace(stash={RUN: Run(replace(OPTIONS, **options), ConnexConfig())}, rootpath=rootpath)
    return SimpleNamespace(config=config, stash={}, obj=function)


def session_with(verdict: CassetteError | None = None) -> SimpleNamespace:
    return SimpleNamespace(verdict=verdict)


def raised_by(call: Callable[[], object]) -> BaseException:
    with pytest.raises(BaseException) as caught:
        call()
    return caught.value


# --- Raising ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cause", [None, ValueError("x")])
def test_without_a_verdict_nothing_is_raised(cause):
    raise_verdict(item_of(), session_with(None), cause)


def test_a_verdict_that_the_test_swallowed_is_raised():
    verdict = CassetteMismatch("other")
    assert raised_by(lambda: raise_verdict(item_of(), session_with(verdict), None)) is verdict


def test_a_verdict_that_the_test_raised_says_nothing_twice():
    verdict = CassetteMismatch("other")
    found = raised_by(lambda: raise_verdict(item_of(), session_with(verdict), verdict))
    assert (found, getattr(found, "__notes__", [])) == (verdict, [])


def test_a_verdict_says_in_a_line_what_the_test_raised_after_it():
    verdict = CassetteMismatch("other")
    found = raised_by(lambda: raise_verdict(item_of(), session_with(verdict), ValueError("first\nsecond")))
    assert found is verdict
    assert found.__notes__ == ["after which the test raised ValueError: first"]
    assert (found.__cause__, found.__suppress_context__) == (None, True)


@pytest.mark.parametrize(
    ("missing", "verdict", "kind"),
    [
        ("skip", CassetteMissing("nothing"), pytest.skip.Exception),
        ("fail", CassetteMissing("nothing"), CassetteMissing),
        ("skip", CassetteMismatch("other"), CassetteMismatch),
    ],
)
def test_a_missing_recording_skips_where_that_is_asked(missing, verdict, kind):
    assert type(raised_by(lambda: raise_verdict(item_of(missing=missing), session_with(verdict), None))) is kind


def test_a_skipped_test_says_what_is_missing_and_why_it_is_skipped():
    found = raised_by(lambda: raise_verdict(item_of(missing="skip"), session_with(CassetteMissing("nothing")), None))
    assert str(found) == "nothing (connex_missing_cassette = skip)"


# --- Where it is shown -----------------------------------------------------------------------------------


def places(cause: Exception, rootpath: Path) -> list[str]:
    """The files in which the verdict is shown, from that of ``raise_verdict`` on."""
    verdict = CassetteMismatch("other")
    found = raised_by(lambda: raise_verdict(item_of(rootpath=rootpath), session_with(verdict), cause))
    names = [Path(frame.filename).name for frame in extract_tb(found.__traceback__)]
    return names[names.index("verdict.py") + 1 :]


def failed_in(file: Path) -> Exception:
    """What the JSON decoder raises when code in ``file`` calls it."""
    variables: dict[str, Any] = {"json": json}
    exec(compile("def read():\n    json.loads('x')\n", str(file), "exec"), variables)
    return raised_by(variables["read"])


def test_it_is_shown_where_the_own_code_of_the_project_was_left(tmp_path):
    cause = failed_in(tmp_path / "test_x.py")
    assert extract_tb(cause.__traceback__)[-1].filename.endswith("decoder.py")
    assert places(cause, tmp_path)[-1] == "test_x.py"


@pytest.mark.parametrize("folder", ["elsewhere", "root/.venv/lib/site-packages"])
def test_code_of_others_is_not_the_project_s_own(tmp_path, folder):
    cause = failed_in(tmp_path / folder / "library.py")
    assert places(cause, tmp_path / "root")[-1] == "decoder.py"


def test_the_code_of_this_package_is_not_either():
    package = Path(raise_verdict.__code__.co_filename).parent
    assert places(failed_in(package / "made_up.py"), package)[-1] == "decoder.py"


# --- What a report says ----------------------------------------------------------------------------------


def report_of(excinfo: pytest.ExceptionInfo | None, **made: object) -> tuple[SimpleNamespace, SimpleNamespace]:
    """A call, and what markers or a framework made of it."""
    return SimpleNamespace(excinfo=excinfo, when="call"), SimpleNamespace(outcome="failed", **made)


def test_a_report_that_says_the_verdict_is_left_alone():
    verdict = CassetteMismatch("other")
    call, report = report_of(pytest.ExceptionInfo.from_exception(raised_by(lambda: raise_(verdict))))
    assert judged(item_of(), session_with(verdict), call, verdict, report) is report


def test_without_a_verdict_a_report_is_left_to_others():
    call, report = report_of(None, wasxfail="reason")
    assert judged(item_of(), session_with(), call, ValueError("x"), report) is report
    assert judged(item_of(), session_with(), call, None, report) is report


def raise_(exc: Exception) -> None:
    raise exc
