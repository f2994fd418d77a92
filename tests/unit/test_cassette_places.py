"""Where the recordings of a test are."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_connex.cassette.places import file_name, files_at, node_id_at, place_of, stem_of


@pytest.mark.parametrize(
    ("node_id", "place"),
    [
        ("tests/test_a.py", "tests/test_a"),
        ("tests/test_a.py::test_x", "tests/test_a/test_x"),
        ("tests/test_a.py::TestX::TestY::test_x", "tests/test_a/TestX.TestY.test_x"),
        ("test_a.py::test_x[1-a]", "test_a/test_x[1-a]"),
        ("test_a.py::TestX::test_x[a::b.c]", "test_a/" + file_name("TestX.test_x[a::b.c]")),
    ],
)
def test_a_node_id_has_a_place(node_id, place):
    assert place_of(node_id) == Path(place)


def test_names_that_no_file_may_have_are_told_apart():
    assert file_name("test_x[a/b]") == "test_x[a-b]-" + file_name("test_x[a/b]").rpartition("-")[2]
    assert file_name("test_x[a/b]") != file_name("test_x[a:b]")
    assert len(file_name("t" * 500)) == 129


def test_a_place_says_which_test_it_is_of():
    assert node_id_at(Path("cassettes/test_a/TestX.test_y[1.5]"), "test_a.py") == "test_a.py::TestX::test_y[1.5]"


def test_both_files_have_one_place(tmp_path):
    paths = [tmp_path / "test_x.ws.jsonl", tmp_path / "test_x.yaml"]
    for path in paths:
        path.touch()
        assert stem_of(path) == tmp_path / "test_x"
    assert files_at(tmp_path / "test_x") == paths
    paths[0].unlink()
    assert files_at(tmp_path / "test_x") == paths[1:]
    assert stem_of(tmp_path / "test_x") == tmp_path / "test_x"
