"""What a test asks with the marker ``connex``: what can be used, what is refused, and which of several counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_connex.plugin.marker import Wishes, wishes
from pytest_connex.plugin.options import RunOptions

OPTIONS = RunOptions("recorded", None, Path("/project/cassettes"), 5.0, "fail", False, 7, 0.05, {})


def ask(*marks: dict[str, Any], options: RunOptions = OPTIONS) -> Wishes:
    """Return what a test asks with several markers, the closest first."""
    markers = [pytest.mark.connex(**arguments).mark for arguments in marks]
    return wishes(SimpleNamespace(nodeid="test_x.py::test_y", iter_markers=lambda name: iter(markers)), options)


def refusal_of(*marks: dict[str, Any]) -> str:
    with pytest.raises(pytest.UsageError) as caught:
        ask(*marks)
    return str(caught.value)


# --- One marker ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["strict", "tls"])
@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_true_or_false(name, value):
    assert getattr(ask({name: value}), name) is value


@pytest.mark.parametrize(
    ("value", "pace"),
    [("instant", 0.0), ("recorded", 1.0), ("0.5", 0.5), (0, 0.0), (0.0, 0.0), (1, 1.0), (0.25, 0.25), (10, 10.0)],
)
def test_a_pace_is_a_name_or_a_number(value, pace):
    found = ask({"pace": value}).pace
    assert (found, type(found)) == (pace, float)


@pytest.mark.parametrize(("value", "virtual"), [("virtual", True), ("real", False)])
def test_a_clock_is_real_or_virtual(value, virtual):
    assert ask({"clock": value}).virtual is virtual


@pytest.mark.parametrize("value", [["clientOrderId", "data.ref"], ("clientOrderId", "data.ref")])
def test_volatile_is_a_list_of_paths(value):
    assert ask({"volatile": value}).volatile == ("clientOrderId", "data.ref")


def test_volatile_may_be_empty():
    assert ask({"volatile": []}).volatile == ()


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *[(name, value, "True or False") for name in ("strict", "tls") for value in (1, 0, "yes", "", None, [])],
        *[
            (
                "pace",
                value,
                '"instant", "recorded", or a number that the recorded intervals are multiplied with',
            )
            for value in (-1, -0.5, "-1", float("nan"), float("inf"), "nan", "fast", "", True, None, [1])
        ],
        *[("clock", value, '"real" or "virtual"') for value in ("Virtual", "fake", "", None, 1, True, ["virtual"])],
        *[
            ("volatile", value, "a list of dotted paths")
            for value in ("id", b"id", {"id"}, {"id": 1}, [""], ["id", 7], [None], None, 7)
        ],
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_what_can(name, value, expected):
    assert refusal_of({name: value}) == f"test_x.py::test_y: connex({name}={value!r}): expected {expected}"


def test_an_argument_that_does_not_exist_is_refused_with_those_that_do():
    assert refusal_of({"strikt": True}) == (
        "test_x.py::test_y: the marker connex has no 'strikt': choose from strict, pace, clock, volatile, "
        "match_headers, tls"
    )


def test_an_argument_without_a_name_is_refused():
    item = SimpleNamespace(
        nodeid="test_x.py::test_y", iter_markers=lambda name: iter([pytest.mark.connex(True).mark])
    )
    with pytest.raises(pytest.UsageError) as caught:
        wishes(item, OPTIONS)
    assert str(caught.value) == "test_x.py::test_y: the marker connex takes keyword arguments only"


# --- Several, and none -----------------------------------------------------------------------------------


def test_the_closest_marker_counts():
    assert ask({"pace": 2}, {"pace": 3}, {"pace": 4}).pace == 2.0


def test_a_value_that_means_nothing_counts_too():
    found = ask({"strict": False, "pace": 0, "volatile": []}, {"strict": True, "pace": 3, "volatile": ["id"]})
    assert (found.strict, found.pace, found.volatile) == (False, 0.0, ())


def test_what_the_closest_does_not_say_comes_from_the_next():
    assert ask({"strict": True}, {"pace": 3}, {"clock": "virtual", "pace": 4}) == Wishes(
        True, 3.0, True, (), (), False
    )


def test_a_marker_that_is_overruled_is_read_all_the_same():
    assert "connex(pace='fast')" in refusal_of({"pace": 1}, {"pace": "fast"})


def test_of_function_class_and_module_the_closest_counts(pytester):
    pytester.makeini("[pytest]\nmarkers = connex\nasyncio_default_fixture_loop_scope = function")
    item = pytester.getitem(
        """
        import pytest

        pytestmark = pytest.mark.connex(strict=True, pace=3, volatile=["ref"])

        @pytest.mark.connex(pace=2, clock="virtual")
        class TestA:
            @pytest.mark.connex(clock="real")
            def test_it(self): pass
        """,
        "test_it",
    )
    assert wishes(item, OPTIONS) == Wishes(
        strict=True, pace=2.0, virtual=False, volatile=("ref",), match_headers=(), tls=False
    )


@pytest.mark.parametrize("marks", [[], [{}]], ids=["no marker", "an empty one"])
def test_what_no_marker_says_comes_from_the_options(marks):
    assert ask(*marks) == Wishes(strict=False, pace=0.0, virtual=False, volatile=(), match_headers=(), tls=False)
    assert ask(*marks, options=replace(OPTIONS, pace=2.0, clock="virtual", tls=True)) == Wishes(
        False, 2.0, True, (), (), True
    )


def test_a_marker_wins_over_the_options():
    found = ask({"pace": "instant", "clock": "real"}, options=replace(OPTIONS, pace=2.0, clock="virtual"))
    assert (found.pace, found.virtual) == (0.0, False)
