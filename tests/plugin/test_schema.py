"""``connex_schema`` in a project of somebody else's: pinned by the command, held against in every mode."""

from __future__ import annotations

import json

import pytest

from ..unit.commands import run
from .conftest import Project

CAPTURE = """
async def test_frames(connex_ws):
    await connex_ws.subscribe("ETH/USDT", depth=5)
    frames = [await connex_ws.recv_text() for _ in range(4)]
"""
TEST = (
    CAPTURE.replace("(connex_ws)", "(connex_ws, connex_schema)")
    + '    assert connex_schema.check_all(frames) == {"orderbook.snapshot": 1, "orderbook.update": 3}\n'
)


@pytest.fixture
def pinned(project: Project) -> Project:
    """A project whose messages are recorded and pinned."""
    project.test_recorded(CAPTURE)
    assert "orderbook.update" in run("schema", "infer", "cassettes").stdout
    project.test(TEST)
    return project


@pytest.mark.parametrize("arguments", [(), ("--connex-sandbox",), ("--connex-sandbox", "--connex-record=rewrite")])
def test_messages_are_held_against_the_pinned_schemas_in_every_mode(pinned, arguments):
    pinned.run(*arguments).assert_outcomes(passed=1)


def test_recording_does_not_write_schemas(pinned):
    path = pinned.path / "cassettes/schemas/orderbook.update.schema.json"
    before = path.read_bytes()
    path.write_bytes(before + b"\n")
    pinned.record()
    assert path.read_bytes() == before + b"\n"


def test_a_message_that_breaks_its_schema_fails_with_the_place(pinned):
    path = pinned.path / "cassettes/schemas/orderbook.update.schema.json"
    schema = json.loads(path.read_text())
    schema["properties"]["sequence"]["type"] = "string"
    path.write_text(json.dumps(schema))
    result = pinned.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E   *DataFormatError: 3 of 4 messages break their pinned schemas (*/cassettes/schemas):",
            'E   *message 2, orderbook.update: sequence: * is not of type "string"',
        ]
    )


def test_a_class_without_a_schema_fails_with_the_command_that_pins_it(project):
    project.test('def test_it(connex_schema):\n    connex_schema.check(\'{"event": "pong"}\')')
    result = project.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E   *ConfigError: no schema is pinned for messages of class 'pong' (*/schemas/pong.schema.json): pin it "
            "from recordings that hold some, with: connex schema infer --out */cassettes/schemas FILE..."
        ]
    )


def test_a_schema_that_is_edited_into_nonsense_fails_with_its_name(pinned):
    (pinned.path / "cassettes/schemas/orderbook.snapshot.schema.json").write_text('{"type": "snapshot"}')
    result = pinned.run()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E   *ConfigError: *orderbook.snapshot.schema.json: not a JSON Schema: *"])


def test_the_folder_of_the_recordings_says_where_the_schemas_are(pinned):
    (pinned.path / "cassettes").rename(pinned.path / "elsewhere")
    pinned.run("--connex-cassette-dir=elsewhere").assert_outcomes(passed=1)


def test_schemas_are_no_recordings(pinned):
    result = pinned.run()
    result.assert_outcomes(passed=1)
    assert "not used" not in result.stdout.str()
    for command in (["ls"], ["check"], ["prune", "--yes"]):
        ran = run("cassettes", *command)
        assert (ran.exit_code, "schema.json" in ran.stdout) == (0, False)
    assert len(list((pinned.path / "cassettes/schemas").iterdir())) == 4


def test_without_the_extra_the_fixture_says_what_to_install(project, monkeypatch):
    monkeypatch.setattr("pytest_connex.plugin.fixtures.find_spec", lambda name: None)
    project.test("def test_it(connex_schema): pass")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*connex_schema needs the extra schema: pip install 'pytest-connex[[]schema[]]'*"])


def test_a_run_that_uses_no_schema_imports_nothing_of_it(project):
    project.test(
        "import sys\n\n"
        "def test_it(connex_config):\n"
        "    assert [name for name in sys.modules if name.startswith(('pytest_connex.schema', 'genson', "
        "'jsonschema_rs'))] == []\n"
    )
    project.run_apart().assert_outcomes(passed=1)


def test_a_run_that_checks_messages_imports_no_genson(pinned):
    pinned.test(TEST + "    import sys\n    assert 'genson' not in sys.modules\n")
    pinned.run_apart().assert_outcomes(passed=1)
