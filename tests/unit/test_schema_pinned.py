"""A folder of pinned schemas: reading, writing, and what is said of messages that break them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pytest_connex.errors import ConfigError, DataFormatError
from pytest_connex.schema.infer import Inference
from pytest_connex.schema.pinned import PinnedSchemas, read_schemas, write_schema

from .market_frames import market_frames


def pin(folder: Path, *texts: str) -> list[tuple[Path, str]]:
    inference = Inference()
    for text in texts:
        inference.add(text)
    return [write_schema(folder, name, schema) for name, schema in inference.schemas().items()]


@pytest.fixture
def pinned(tmp_path: Path) -> PinnedSchemas:
    pin(tmp_path, '{"event": "pong", "id": 7}', '{"event": "fee", "rate": "0.25"}')
    return PinnedSchemas(tmp_path)


def test_a_message_that_fits_returns_its_class(pinned):
    assert pinned.check('{"event": "pong", "id": 8}') == "pong"
    assert pinned.check(b'{"event": "pong", "id": 8}') == "pong"
    assert pinned.check({"event": "pong", "id": 8}) == "pong"


def test_a_message_that_does_not_fit_is_told_with_its_places(pinned, tmp_path):
    with pytest.raises(DataFormatError) as caught:
        pinned.check('{"event": "pong", "id": "8"}')
    assert str(caught.value) == (
        f"a message breaks the pinned schema of pong ({tmp_path / 'pong.schema.json'}):\n"
        '  id: "8" is not of type "integer"'
    )


def test_a_class_may_be_given(pinned):
    with pytest.raises(DataFormatError, match="of fee"):
        pinned.check('{"event": "pong", "id": 7}', "fee")


def test_a_class_without_a_schema_says_how_to_pin_it(tmp_path):
    folder = tmp_path / "my schemas"
    with pytest.raises(ConfigError) as caught:
        PinnedSchemas(folder).check('{"event": "pong"}')
    assert str(caught.value) == (
        f"no schema is pinned for messages of class 'pong' ({folder / 'pong.schema.json'}): pin it from recordings "
        f"that hold some, with: connex schema infer --out '{folder}' FILE..."
    )


def test_all_messages_are_counted_by_their_class(pinned):
    texts = ['{"event": "pong", "id": 1}', '{"event": "fee", "rate": "1.5"}', '{"event": "pong", "id": 2}']
    assert pinned.check_all(texts) == {"pong": 2, "fee": 1}
    assert pinned.check_all([]) == {}
    assert pinned.check_all(['{"rate": "1.5", "event": "fee"}'], "fee") == {"fee": 1}


def test_all_messages_that_do_not_fit_are_told(pinned, tmp_path):
    texts = ['{"event": "pong", "id": null}', '{"event": "fee", "rate": "1.5"}', '{"event": "fee", "rate": "NaN"}']
    with pytest.raises(DataFormatError) as caught:
        pinned.check_all(texts)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"2 of 3 messages break their pinned schemas ({tmp_path}):"
    assert lines[1] == '  message 1, pong: id: null is not of type "integer"'
    assert lines[2].startswith('  message 3, fee: rate: "NaN" does not match ')


def test_a_long_list_of_problems_is_cut(pinned):
    with pytest.raises(DataFormatError) as caught:
        pinned.check_all(['{"event": "pong"}'] * 25)
    lines = str(caught.value).splitlines()
    assert (len(lines), lines[-1]) == (22, "  ... and 5 more")


def test_a_message_that_is_not_json_is_told_with_its_number(pinned):
    with pytest.raises(DataFormatError, match="^message 2: the key .event. stands twice"):
        pinned.check_all(['{"event": "pong", "id": 7}', '{"event": "pong", "event": "pong"}'])


def test_messages_are_not_changed(pinned):
    frame = {"event": "fee", "rate": "1.5"}
    pinned.check(frame)
    assert frame == {"event": "fee", "rate": "1.5"}


# --- The files ----------------------------------------------------------------------------------------------------


def test_pinning_again_says_what_has_changed(tmp_path):
    folder = tmp_path / "a" / "b"
    assert pin(folder, '{"event": "pong", "id": 7}') == [(folder / "pong.schema.json", "new")]
    assert pin(folder, '{"id": 8, "event": "pong"}') == [(folder / "pong.schema.json", "unchanged")]
    assert pin(folder, '{"event": "pong", "id": "x y"}') == [(folder / "pong.schema.json", "changed")]


def test_the_schemas_of_a_folder_are_found_by_their_titles(tmp_path):
    pin(tmp_path, *market_frames([7], 20))
    (tmp_path / "README.md").write_text("pinned")
    (tmp_path / "untitled.schema.json").write_text("{}")
    assert list(read_schemas(tmp_path)) == [
        "orderbook.snapshot",
        "orderbook.update",
        "pong",
        "subscribed",
        "untitled",
    ]
    assert list(read_schemas(tmp_path / "pong.schema.json")) == ["pong"]


def test_two_schemas_of_one_class_are_refused(tmp_path):
    pin(tmp_path, '{"event": "pong", "id": 7}')
    (tmp_path / "x.schema.json").write_text('{"title": "pong"}')
    with pytest.raises(ConfigError, match=r"x\.schema\.json: there is another schema for 'pong'"):
        read_schemas(tmp_path)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"holds no \*\.schema\.json"):
        read_schemas(tmp_path)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not JSON"),
        ('{"type": "object",}', "not JSON"),
        ('{"type": "objekt"}', "not a JSON Schema"),
        ('{"type": "object", "type": "array"}', "stands twice"),
        ("[]", "a schema must be a JSON object"),
        ("\udcff", "not UTF-8"),
        ("{" * 10_000, "not JSON|nested"),
        ('{"a":' * 10_000 + "1" + "}" * 10_000, "nested more than 100 deep"),
        ('{"minimum": NaN}', "NaN is not JSON"),
        ('{"$ref": "https://example.invalid/x"}', "not a JSON Schema"),
        ('{"const": "\\ud800"}', "half of a surrogate pair"),
    ],
)
def test_a_file_that_is_no_schema_is_refused_with_its_name(pinned, tmp_path, text, said):
    path = tmp_path / "pong.schema.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ConfigError, match=said) as caught:
        pinned.check('{"event": "pong", "id": 7}')
    assert str(caught.value).startswith(f"{path}: ")


def test_a_file_that_cannot_be_read_is_refused_with_its_name(tmp_path):
    (tmp_path / "pong.schema.json").mkdir()
    with pytest.raises(ConfigError, match=r"pong\.schema\.json: the schema cannot be read: Is a directory"):
        PinnedSchemas(tmp_path).check('{"event": "pong"}')


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="the schema cannot be written"):
        pin(tmp_path / "file", '{"event": "pong"}')


def test_what_could_not_be_read_again_is_not_written(tmp_path):
    deep = '{"a":' * 60 + "1" + "}" * 60
    with pytest.raises(DataFormatError, match="nested more than 100 deep"):
        pin(tmp_path, deep)
    with pytest.raises(DataFormatError, match="surrogate"):
        pin(tmp_path, '{"event": "x", "\\ud800": 1}')
    assert list(tmp_path.iterdir()) == []


def test_a_schema_by_hand_may_say_more(tmp_path):
    pin(tmp_path, '{"event": "pong", "id": 7}')
    path = tmp_path / "pong.schema.json"
    schema = json.loads(path.read_text())
    schema["properties"]["id"] = {"$ref": "#/$defs/id"}
    schema["$defs"] = {"id": {"type": "integer", "maximum": 10}}
    path.write_text(json.dumps(schema))
    assert PinnedSchemas(tmp_path).check('{"event": "pong", "id": 7}') == "pong"
    with pytest.raises(DataFormatError, match="id: 11 is greater"):
        PinnedSchemas(tmp_path).check('{"event": "pong", "id": 11}')
