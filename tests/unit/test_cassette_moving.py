"""Moving recordings to where those of a renamed test are looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_connex.cassette.library import summarize
from pytest_connex.cassette.moving import move_all, plan_moves
from pytest_connex.errors import CassetteError

WEBSOCKET = (
    b'{"format":"connex-ws","version":1,"recorded_at":"2026-11-23T15:00:00Z","source":"live",'
    b'"generator":"pytest-connex 0.1.0","test":"%s"}\n'
    b'{"event":"dial","conn":1,"at":0.0,"url":"wss://ws.connex.invalid/?test=%s"}\n'
    b'{"event":"refused","conn":1,"at":0.1,"error":"ConnectionRefusedError","message":"\\u00e9 \xc3\xa9"}\n'
    b'{"event":"end","events":2}\n'
)
HTTP = (
    b"connex:\r\n  generator: pytest-connex 0.1.0\n  interactions: 0   \n  source: live\n  test: %s\n  # kept\n"
    b"interactions: []\n\n# test: %s\nversion: 1\n"
)
OLD = b"tests/test_a.py::test_x"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    put("tests/test_a/test_x", OLD)
    return Path("cassettes")


def put(place: str, test: bytes, kinds: str = "wh") -> None:
    stem = Path("cassettes", place)
    stem.parent.mkdir(parents=True, exist_ok=True)
    if "w" in kinds:
        stem.with_name(f"{stem.name}.ws.jsonl").write_bytes(WEBSOCKET % (test, test))
    if "h" in kinds:
        stem.with_name(f"{stem.name}.yaml").write_bytes(HTTP % (test, test))


def tree() -> dict[str, bytes]:
    return {
        str(path.relative_to("cassettes")): path.read_bytes()
        for path in sorted(Path("cassettes").rglob("*"))
        if path.is_file()
    }


def move(folder: Path, old: str, new: str) -> None:
    move_all(plan_moves(folder, old, new))


def refused(folder: Path, old: str, new: str) -> str:
    before = tree()
    with pytest.raises(CassetteError) as caught:
        move(folder, old, new)
    assert tree() == before
    return str(caught.value)


@pytest.mark.parametrize(
    "old", ["tests/test_a.py::test_x", "cassettes/tests/test_a/test_x", "cassettes/tests/test_a/test_x.yaml"]
)
@pytest.mark.parametrize("new", ["tests/test_b.py::TestY::test_z", "cassettes/tests/test_b/TestY.test_z"])
def test_both_files_are_moved_and_nothing_but_the_name_is_changed(folder, old, new):
    move(folder, old, new)
    name = b"tests/test_b.py::TestY::test_z"
    assert tree() == {
        "tests/test_b/TestY.test_z.ws.jsonl": WEBSOCKET % (name, OLD),
        "tests/test_b/TestY.test_z.yaml": HTTP % (name, OLD),
    }
    assert {summarize(folder / path).test for path in tree()} == {name.decode()}
    assert not (folder / "tests/test_a").exists()


@pytest.mark.parametrize("kind", ["w", "h"])
def test_one_file_is_moved_where_there_is_one(folder, kind):
    put("test_b/test_one", b"test_b.py::test_one", kind)
    move(folder, "test_b.py::test_one", "test_b.py::test_two")
    suffix = {"w": ".ws.jsonl", "h": ".yaml"}[kind]
    assert sorted(path for path in tree() if path.startswith("test_b")) == [f"test_b/test_two{suffix}"]


@pytest.mark.parametrize(
    "name", ["test_b.py::test_x[a: b # c]", 'test_b.py::test_x["é\\\\"]', "test_b.py::test_x[ключ]"]
)
def test_names_are_written_as_each_format_writes_them(folder, name):
    move(folder, OLD.decode(), name)
    assert {summarize(folder / path).test for path in tree()} == {name}
    move(folder, name, OLD.decode())
    assert tree() == {
        "tests/test_a/test_x.ws.jsonl": WEBSOCKET % (OLD, OLD),
        "tests/test_a/test_x.yaml": HTTP % (OLD, OLD),
    }


def test_a_module_is_moved_with_all_of_its_recordings_and_nothing_else(folder):
    put("tests/test_a/TestX.test_y[1]", b"tests/test_a.py::TestX::test_y[1]", "h")
    put("tests/test_a/test_inner/test_x", b"tests/test_a/test_inner.py::test_x", "h")
    foreign = folder / "tests/test_a/theirs.yaml"
    foreign.write_text("a: 1\n")
    move(folder, "tests/test_a.py", "tests/more/test_b.py")
    assert sorted(tree()) == [
        "tests/more/test_b/TestX.test_y[1].yaml",
        "tests/more/test_b/test_x.ws.jsonl",
        "tests/more/test_b/test_x.yaml",
        "tests/test_a/test_inner/test_x.yaml",
        "tests/test_a/theirs.yaml",
    ]
    found = [summarize(folder / path).test for path in sorted(tree()) if path.startswith("tests/more")]
    assert found == [
        "tests/more/test_b.py::TestX::test_y[1]",
        "tests/more/test_b.py::test_x",
        "tests/more/test_b.py::test_x",
    ]


def test_nothing_is_overwritten(folder):
    put("tests/test_a/test_y", b"tests/test_a.py::test_y", "h")
    assert refused(folder, "tests/test_a.py::test_x", "tests/test_a.py::test_y") == (
        "cassettes/tests/test_a/test_y.yaml: there is a recording already; nothing was moved"
    )
    put("test_b/test_x", b"test_b.py::test_x", "w")
    assert "test_b/test_x.ws.jsonl: there is a recording already" in refused(folder, "tests/test_a.py", "test_b.py")


def test_what_is_not_there_is_said(folder):
    assert refused(folder, "tests/test_a.py::test_y", "tests/test_a.py::test_z") == (
        "there is no recording of tests/test_a.py::test_y in cassettes"
    )
    assert refused(folder, "tests/test_c.py", "tests/test_b.py") == (
        "there is no recording of tests/test_c.py in cassettes"
    )
    assert refused(folder, "tests/test_a.py", "tests/test_a.py::test_y") == (
        "tests/test_a.py and tests/test_a.py::test_y must both be modules, or both be tests"
    )


@pytest.mark.parametrize("kind", [".ws.jsonl", ".yaml"])
def test_a_file_that_names_no_test_is_refused(folder, kind):
    path = folder / f"tests/test_a/test_x{kind}"
    path.write_bytes(b"\xff[\n" + path.read_bytes())
    assert f"test_x{kind}:1: the recording does not say which test it is of" in refused(
        folder, "tests/test_a.py::test_x", "tests/test_a.py::test_y"
    )


def test_links_that_lead_out_of_the_folder_are_not_followed(folder, tmp_path_factory):
    outside = tmp_path_factory.mktemp("outside")
    (folder / "test_out").symlink_to(outside)
    assert "test_out/test_x.ws.jsonl: is not within cassettes" in refused(folder, OLD.decode(), "test_out.py::test_x")
    assert "is not within cassettes" in refused(folder, OLD.decode(), str(outside / "test_x"))
    assert "is not within cassettes" in refused(folder, OLD.decode(), "../test_x.py::test_x")
    os.rename(folder / "tests/test_a/test_x.yaml", outside / "test_x.yaml")
    (folder / "tests/test_a/test_x.yaml").symlink_to(outside / "test_x.yaml")
    assert "or a symbolic link" in refused(folder, OLD.decode(), "test_b.py::test_x")
    (folder / "tests/test_a/test_x.yaml").unlink()
    (folder / "tests/test_a/test_x.ws.jsonl").unlink()
    assert "test_out/test_x.yaml: is not within" in refused(folder, "test_out.py::test_x", "test_b.py::test_x")


def test_a_move_that_fails_leaves_everything_as_it_was(folder):
    moves = plan_moves(folder, "tests/test_a.py", "test_b.py")
    before = tree()
    (folder / "tests/test_a/test_x.yaml").rename(folder / "gone.yaml")
    with pytest.raises(CassetteError, match="cannot be read"):
        move_all(moves)
    (folder / "gone.yaml").rename(folder / "tests/test_a/test_x.yaml")
    assert tree() == before


def test_files_keep_their_permissions(folder):
    (folder / "tests/test_a/test_x.yaml").chmod(0o640)
    move(folder, OLD.decode(), "test_b.py::test_x")
    assert (folder / "test_b/test_x.yaml").stat().st_mode & 0o777 == 0o640
