"""Forms: what is read back from a function that builds messages."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_connex.errors import ConfigError
from pytest_connex.sandbox.forms import Form, Leaf, at, dotted, leaves


def build(name: str, size: object) -> dict:
    return {"do": "buy", "what": [{"name": name}, f"{name}/{size}"], "size": size, "options": {}}


FORM = Form("build", build, {"name": "a", "size": 1}, {"name": "b", "size": 2})


def test_values_stand_at_their_places():
    assert leaves({"a": [1, {"b": True}], "c": {}, "d": []}) == {
        ("a", 0): Leaf(int, 1),
        ("a", 1, "b"): Leaf(bool, True),
        ("c",): Leaf(dict, {}),
        ("d",): Leaf(list, []),
    }


def test_a_float_of_a_function_is_the_number_that_arrives():
    assert leaves({"v": 1.5}) == leaves({"v": Decimal("1.5")})
    assert leaves({"v": 1}) != leaves({"v": True})
    assert leaves({"v": 1}) != leaves({"v": Decimal("1.0")})


@pytest.mark.parametrize(
    ("place", "value"),
    [((), {"a": [1, {"b": 2}]}), (("a", 1, "b"), 2), (("a", 9), None), (("x",), None), (("a", "b"), None)],
)
def test_what_stands_at_a_place_is_found(place, value):
    assert at({"a": [1, {"b": 2}]}, place) == value


def test_a_place_is_spelled_without_positions():
    assert dotted(("a", 0, "b")) == "a.b"


def test_arguments_are_found_where_they_stand():
    assert FORM.places == {
        "name": (("what", 0, "name"), ("what", 1)),
        "size": (("what", 1), ("size",)),
    }
    assert (FORM.verbatim("name"), FORM.verbatim("size")) == (("what", 0, "name"), ("size",))


def test_a_message_fits_by_what_never_changes():
    assert FORM.fit(leaves(build("x", 9))) == 5
    assert FORM.fit(leaves({**build("x", 9), "more": 1})) == 5
    assert FORM.fit(leaves({"do": "buy", "options": {}})) == 2
    assert FORM.fit(leaves({**build("a", 1), "do": "sell"})) == 0


def test_volatile_and_counted_members_do_not_count():
    count = iter(range(100))
    form = Form("f", lambda name: {"id": next(count), "at": 5, "name": name}, {"name": "a"}, {"name": "b"}, ["at"])
    assert form.places == {"name": (("name",),)}
    assert form.fit(leaves({"id": 7, "at": 6, "name": "z"})) == 1


@given(st.text(), st.integers(1, 5))
def test_what_was_built_is_solved(name, size):
    candidates = [{"name": each, "size": number} for each in ("a", name) for number in range(1, 6)]
    solved = FORM.solve(leaves(build(name, size)), candidates)
    assert solved is not None
    assert build(**solved) == build(name, size)


def test_what_was_not_built_is_not_solved_unless_it_is_passed():
    wrong = leaves({**build("a", 1), "size": 3})
    assert FORM.solve(wrong, [{"name": "a", "size": 1}]) is None
    assert FORM.solve(wrong, [{"name": "a", "size": 1}], [("size",)]) == {"name": "a", "size": 1}


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda name: [name], "f() must return an object, not list"),
        (lambda name: {}[name], "f() failed: KeyError: 'a'"),
    ],
)
def test_a_function_that_builds_nothing_is_told(function, problem):
    with pytest.raises(ConfigError) as caught:
        Form("f", function, {"name": "a"}, {"name": "b"})
    assert str(caught.value) == problem
