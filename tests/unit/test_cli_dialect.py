"""``--dialect``: what it finds, and the words for what it does not."""

from __future__ import annotations

import sys

import pytest

from pytest_connex.cli.dialect import load_dialect
from pytest_connex.errors import ConfigError

from .commands import run

SOURCE = """
from pytest_connex import Dialect

class MyDialect(Dialect):
    status_path = "/v2/status"

class Picky(Dialect):
    def __init__(self, region):
        super().__init__()

class Outer:
    class Inner(MyDialect):
        pass

class Half(Dialect):
    def encode(self, message):
        return "42" + super().encode(message)

made = MyDialect(status_path="/v3/status")
number = 7
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """A folder with modules, which are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "venue_dialects.py").write_text(SOURCE)
    (tmp_path / "venue_missing.py").write_text("import venue_not_there")
    (tmp_path / "venue_broken.py").write_text("1 / 0")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.startswith("venue_"):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("named", "path"),
    [("MyDialect", "/v2/status"), ("Outer.Inner", "/v2/status"), ("made", "/v3/status")],
)
def test_a_dialect_is_found_in_the_current_folder(named, path):
    assert load_dialect(f"venue_dialects:{named}").status_path == path


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ("venue_dialects", "it must be MODULE:CLASS, for example conftest:MyDialect"),
        (":MyDialect", "it must be MODULE:CLASS, for example conftest:MyDialect"),
        ("venue_dialects:", "it must be MODULE:CLASS, for example conftest:MyDialect"),
        ("venue_none:MyDialect", "there is no module venue_none, in {here} or installed"),
        ("venue_dialects.inner:MyDialect", "there is no module venue_dialects.inner, in {here} or installed"),
        ("../venue_dialects:MyDialect", "../venue_dialects cannot be imported: "),
        ("venue_missing:MyDialect", "venue_missing cannot be imported: No module named 'venue_not_there'"),
        ("venue_broken:MyDialect", "venue_broken cannot be imported: ZeroDivisionError: division by zero"),
        ("venue_dialects:Nothing", "there is no Nothing in venue_dialects"),
        ("venue_dialects:Outer", "Outer is no subclass of pytest_connex.Dialect"),
        ("venue_dialects:number", "number is no subclass of pytest_connex.Dialect"),
        ("venue_dialects:Picky", "Picky() failed: TypeError: "),
    ],
)
def test_what_is_no_dialect_is_told_in_plain_words(here, named, problem):
    with pytest.raises(ConfigError) as caught:
        load_dialect(named)
    assert str(caught.value).startswith(f"--dialect {named}: {problem.format(here=here)}")


@pytest.mark.parametrize(
    ("named", "problem"),
    [
        ("venue_none:MyDialect", "--dialect venue_none:MyDialect: there is no module venue_none, in "),
        ("venue_dialects:Nothing", "--dialect venue_dialects:Nothing: there is no Nothing in venue_dialects"),
        ("venue_dialects:Outer", "--dialect venue_dialects:Outer: Outer is no subclass of pytest_connex.Dialect"),
        ("venue_dialects:Half", "the sandbox cannot speak the dialect Half: decode() does not read what encode()"),
    ],
)
def test_the_sandbox_refuses_them_with_exit_code_2(named, problem):
    ran = run("sandbox", "--port", 0, "--dialect", named)
    assert (ran.exit_code, ran.stdout) == (2, "")
    assert ran.stderr.startswith(f"connex sandbox: {problem}")
