"""How a verdict becomes the result of its test, on tests that never run."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from traceback import extract_tb
from types import SimpleNamespace
from typing import Any

import hypothesis
import pytest
import uvloop

from pytest_connex.config import ConnexConfig
from pytest_connex.errors import CassetteError, CassetteMismatch, CassetteMissing
from pytest_connex.network import UVLOOP_REFUSED
from pytest_connex.options import RunOptions
from pytest_connex.run import RUN, Run
from pytest_connex.verdict import raise_verdict, task_noted

OPTIONS = RunOptions("recorded", None, Path("/project/cassettes"), 5.0, "fail", False, 7, 0.05, {})


def item_of(function: object = None, rootpath: Path = Path("/project"), **options: Any) -> SimpleNamespace:
    config = SimpleNamespace(stash={RUN: Run(replace(OPTIONS, **options), ConnexConfig())}, rootpath=rootpath)
    return SimpleNamespace(config=config, stash={}, obj=function)


def session_with(verdict: CassetteError | None = None, action: str = "replay") -> SimpleNamespace:
    noted: list[object] = []
    ending = SimpleNamespace(note_task=lambda: noted.append(asyncio.current_task()))
    return SimpleNamespace(verdict=verdict, ending=ending, plan=SimpleNamespace(action=action), noted=noted)


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


# --- Which task is the test's ----------------------------------------------------------------------------


def run(item: SimpleNamespace, session: SimpleNamespace, new_loop: Callable[[], Any] | None = None) -> object:
    with asyncio.Runner(loop_factory=new_loop) as runner, task_noted(item, session):
        return runner.run(item.obj("a", key="b"))


async def answer(*args: object, **kwargs: object) -> tuple[object, ...]:
    return args, kwargs


def test_an_asynchronous_test_tells_its_task_and_is_called_as_it_was():
    session = session_with()
    assert run(item_of(answer), session) == (("a",), {"key": "b"})
    assert [type(task) for task in session.noted] == [asyncio.Task]


def test_afterwards_it_is_as_it_was():
    item = item_of(answer)
    run(item, session_with())
    assert item.obj is answer


def test_after_an_error_it_is_as_it_was_too():
    item = item_of(answer)
    with pytest.raises(ValueError), task_noted(item, session_with()):
        raise ValueError
    assert item.obj is answer


def test_it_keeps_its_name():
    item = item_of(answer)
    with task_noted(item, session_with()):
        assert item.obj.__name__ == "answer"


@hypothesis.given(hypothesis.strategies.none())
async def generated(value: None) -> None:
    """A test that hypothesis calls more than once."""


@pytest.mark.parametrize("function", [lambda: None, generated, None], ids=["a function", "hypothesis", "nothing"])
def test_any_other_test_is_left_alone(function):
    item = item_of(function)
    with task_noted(item, session_with()):
        assert item.obj is function


def test_an_item_without_a_function_is_left_alone():
    item = SimpleNamespace()
    with task_noted(item, session_with()):
        assert not hasattr(item, "obj")


@pytest.mark.parametrize(
    ("action", "allowed", "refused"),
    [("replay", False, True), ("replay", True, False), ("record", False, False), ("pass", False, False)],
)
def test_a_replay_on_uvloop_is_refused_unless_that_is_allowed(action, allowed, refused):
    item, session = item_of(answer, allow_uvloop=allowed), session_with(action=action)
    if not refused:
        assert run(item, session, uvloop.new_event_loop) == (("a",), {"key": "b"})
        return
    assert str(raised_by(lambda: run(item, session, uvloop.new_event_loop))) == UVLOOP_REFUSED
