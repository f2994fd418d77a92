"""What an HTTP recording must have: one member wrong at a time, and the line that is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_connex.cassette.http_file import read_http
from pytest_connex.errors import CassetteError

GOOD = """\
interactions:
- request:
    body: null
    headers: {}
    method: GET
    uri: https://rest.connex.invalid/v1/status
  response:
    body: {string: ''}
    headers: {}
    status: {code: 200, message: OK}
- request:
    body: !!binary AAEC/w==
    headers: {}
    method: POST
    uri: https://rest.connex.invalid/v1/order
  response:
    body: {string: done}
    headers: {}
    status: {code: 201, message: Created}
version: 1
"""
SECOND = GOOD.index("- request", GOOD.index("- request") + 1)


def refusal(path: Path, text: str) -> tuple[int | None, str]:
    path.write_text(text)
    with pytest.raises(CassetteError) as caught:
        read_http(path)
    assert caught.value.path == path
    return caught.value.line, str(caught.value).removeprefix(f"{path}:{caught.value.line}: ")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "test_y.yaml"


def test_a_recording_without_facts_of_ours_is_read(path):
    path.write_text(GOOD)
    data = read_http(path)
    assert sorted(data) == ["interactions", "version"]
    assert data["interactions"][1]["request"]["body"] == b"\x00\x01\x02\xff"


def test_no_interactions_are_read(path):
    path.write_text("interactions: []\nversion: 1\n")
    assert read_http(path) == {"interactions": [], "version": 1}


@pytest.mark.parametrize(
    ("good", "bad", "lacking"),
    [
        ("method: POST", "method: 1", "request.method"),
        ("    method: POST\n", "", "request.method"),
        ("uri: https://rest.connex.invalid/v1/order", "uri: [a]", "request.uri"),
        ("headers: {}\n    method: POST", "headers: []\n    method: POST", "request.headers"),
        ("body: !!binary AAEC/w==", "body: {a: b}", "request.body"),
        ("body: {string: done}", "body: done", "response.body"),
        ("body: {string: done}", "body: {base64: done}", "response.body.string"),
        ("status: {code: 201, message: Created}", "status: 201", "response.status"),
        ("status: {code: 201, message: Created}", "status: {code: '201'}", "response.status.code"),
        ("status: {code: 201, message: Created}", "status: {}", "response.status.code"),
    ],
)
def test_a_member_that_is_missing_or_of_another_kind_is_named_with_its_interaction(path, good, bad, lacking):
    changed = GOOD[:SECOND] + GOOD[SECOND:].replace(good, bad)
    assert refusal(path, changed) == (11, f"not a recording of HTTP: an interaction lacks {lacking}")


@pytest.mark.parametrize(("bad", "lacking"), [("- text", "request"), ("- request: {}", "request.method")])
def test_an_interaction_of_another_kind_is_named(path, bad, lacking):
    changed = f"{GOOD[:SECOND]}{bad}\nversion: 1\n"
    assert refusal(path, changed) == (11, f"not a recording of HTTP: an interaction lacks {lacking}")


@pytest.mark.parametrize("text", ["", "- a\n", "interactions: 1\n", "version: 1\n", "interactions:\nversion: 1\n"])
def test_what_has_no_interactions_is_no_recording(path, text):
    assert refusal(path, text) == (1, "not a recording of HTTP: it has no interactions")


def test_a_recording_without_its_last_line_is_truncated(path):
    assert refusal(path, GOOD.removesuffix("version: 1\n")) == (
        19,
        "the recording is truncated: its last line must be the version",
    )


@pytest.mark.parametrize("counted", [1, 3])
def test_a_recording_of_another_count_is_truncated(path, counted):
    assert refusal(path, f"connex: {{interactions: {counted}}}\n{GOOD}") == (
        21,
        f"the recording is truncated: it counts {counted} interactions, found 2",
    )


def test_what_is_no_yaml_is_refused_with_its_line(path):
    assert refusal(path, GOOD.replace("method: GET", "method: GET: x")) == (
        5,
        "not YAML: mapping values are not allowed in this context",
    )


@pytest.mark.parametrize("data", [b"interactions: \xff\n", None])
def test_what_cannot_be_read_is_refused_without_a_line(path, data):
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(CassetteError, match=r"the recording cannot be read: ") as caught:
        read_http(path)
    assert (caught.value.path, caught.value.line) == (path, None)
