"""The rules of a run, on items that were collected and never run."""

from __future__ import annotations

import asyncio
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import hypothesis  # noqa: F401  (collecting within this process imports it, and forgets it again)
import pytest
import uvloop

import pytest_connex.cassette.session  # noqa: F401  (so does planning)
from pytest_connex.config import API_KEY, API_SECRET, REST_URL, VARIABLES, WS_URL, ConnexConfig
from pytest_connex.plugin.options import RunOptions
from pytest_connex.plugin.planning import action, allowed_hosts, plan, runs_on_uvloop
from pytest_connex.plugin.requirements import (
    ask_for_secrets,
    configure_live,
    known_secrets,
    needs,
    prepare,
    refuse,
    refuse_short_secrets,
)
from pytest_connex.plugin.run import MARKERS, REFUSAL, SETTINGS, Run, owns_sandbox, skip_reason, uses_connex

INI = "[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function\n"
OPTIONS = RunOptions("recorded", None, Path("/project/cassettes"), 5.0, "fail", False, 7, 0.05, {})
LIVE = ConnexConfig(rest_url="https://r.example", ws_url="wss://w.example", api_key="a-key", api_secret="a-secret")

Collect = Callable[..., pytest.Item]


@pytest.fixture
def collect(pytester: pytest.Pytester) -> Collect:
    """Collect the one test of some source, which has pytest imported already."""

    def item_of(source: str) -> pytest.Item:
        [item] = items_of(pytester, source)
        return item

    return item_of


@pytest.fixture
def made_with(collect: Collect) -> Collect:
    """Collect a test by the marker on it, or on its module, and the fixtures it requests."""

    def item_of(fixtures: str = "", marker: str = "", of_module: str = "") -> pytest.Item:
        above = f"pytestmark = pytest.mark.{of_module}\n" if of_module else ""
        decorator = f"@pytest.mark.{marker}\n" if marker else ""
        return collect(f"{above}{decorator}def test_it({fixtures}): pass")

    return item_of


def items_of(pytester: pytest.Pytester, source: str) -> list[pytest.Item]:
    pytester.makeini(INI)
    return pytester.getitems(f"import pytest\n{source}")


def run_of(mode: str = "recorded", record: str | None = None, live: ConnexConfig | None = None) -> Run:
    configured = live or (ConnexConfig() if mode == "live" else None)
    return Run(replace(OPTIONS, mode=mode, record=record), configured)


# --- What a test is --------------------------------------------------------------------------------------


@pytest.mark.parametrize("fixture", ["connex_config", "connex_rest", "connex_ws", "connex_sandbox", "connex_dialect"])
def test_a_test_that_requests_a_fixture_of_ours_uses_connex(made_with, fixture):
    assert uses_connex(made_with(fixture))


@pytest.mark.parametrize("marker", [*MARKERS, "connex(strict=True)"])
def test_a_marked_test_uses_connex(made_with, marker):
    assert uses_connex(made_with(marker=marker))


def test_a_test_of_a_marked_module_uses_connex(made_with):
    assert uses_connex(made_with(of_module="connex"))


def test_a_test_whose_fixture_requests_one_of_ours_uses_connex(collect):
    item = collect("@pytest.fixture\ndef client(connex_config): return connex_config\ndef test_it(client): pass\n")
    assert uses_connex(item)


@pytest.mark.parametrize(("fixtures", "marker"), [("", ""), ("tmp_path", ""), ("", "asyncio"), ("request", "skip")])
def test_another_test_does_not_use_connex(made_with, fixtures, marker):
    assert not uses_connex(made_with(fixtures, marker))


def test_an_item_without_fixtures_does_not_use_connex():
    assert not uses_connex(SimpleNamespace(get_closest_marker=lambda name: None))


@pytest.mark.parametrize(
    ("fixtures", "marker", "owns"),
    [
        ("connex_sandbox", "", True),
        ("", "connex_sandbox", True),
        ("connex_rest", "connex_sandbox", True),
        ("connex_rest", "", False),
        ("", "connex", False),
    ],
)
def test_a_test_owns_a_sandbox_by_fixture_or_by_marker(made_with, fixtures, marker, owns):
    assert owns_sandbox(made_with(fixtures, marker)) is owns


@pytest.mark.parametrize(
    ("marker", "mode", "reason"),
    [
        ("connex_live", "recorded", "needs the live gateway: run with --connex-live"),
        ("connex_live", "sandbox", "needs the live gateway: run with --connex-live"),
        ("connex_live", "live", None),
        ("connex_recorded", "recorded", None),
        ("connex_recorded", "sandbox", "runs from its recording only: run without --connex-sandbox"),
        ("connex_recorded", "live", "runs from its recording only: run without --connex-live"),
        *[
            (marker, mode, None)
            for marker in ("connex", "connex_sandbox")
            for mode in ("recorded", "sandbox", "live")
        ],
    ],
)
def test_a_test_of_another_mode_is_skipped_with_the_switch_that_runs_it(made_with, marker, mode, reason):
    assert skip_reason(made_with(marker=marker), replace(OPTIONS, mode=mode)) == reason


@pytest.mark.parametrize(
    ("fixtures", "marker", "variables"),
    [
        ("connex_rest", "", {REST_URL, API_KEY, API_SECRET}),
        ("connex_rest_async", "", {REST_URL, API_KEY, API_SECRET}),
        ("connex_respx", "", {REST_URL, API_KEY, API_SECRET}),
        ("connex_ws", "", {WS_URL}),
        ("connex_ws_connect", "", {WS_URL}),
        ("connex_connect", "", {WS_URL}),
        ("connex_rest, connex_ws", "", {REST_URL, WS_URL, API_KEY, API_SECRET}),
        ("connex_config", "", {REST_URL, WS_URL}),
        ("", "connex", {REST_URL, WS_URL}),
        ("connex_rest, connex_sandbox", "", set()),
        ("connex_ws", "connex_sandbox", set()),
        ("tmp_path", "", set()),
    ],
)
def test_a_live_test_needs_the_variables_of_what_it_requests(made_with, fixtures, marker, variables):
    assert needs(made_with(fixtures, marker)) == variables


# --- Before the first test -------------------------------------------------------------------------------


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., SimpleNamespace]:
    """Set these Connex variables and no others; the rest of them in ``.env``, if there is any."""

    def of(dotenv: str = "", **variables: str) -> SimpleNamespace:
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        (tmp_path / ".env").write_text(dotenv)
        return SimpleNamespace(rootpath=tmp_path)

    return of


@pytest.mark.parametrize("mode", ["recorded", "sandbox"])
def test_a_run_that_is_not_live_does_not_look_at_the_environment(environment, mode):
    config = environment(CONNEX_WS_URL="not a URL")
    assert configure_live(config, replace(OPTIONS, mode=mode)) is None


def test_a_live_run_takes_its_variables_and_its_options(environment):
    config = environment("CONNEX_WS_URL=wss://from-file.example", CONNEX_REST_URL="https://gateway.example")
    assert configure_live(config, replace(OPTIONS, mode="live", client={"timeout": 3.0})) == ConnexConfig(
        mode="live", rest_url="https://gateway.example", ws_url="wss://from-file.example", timeout=3.0
    )


def test_a_live_run_without_any_variable_names_them_all(environment):
    with pytest.raises(pytest.UsageError) as caught:
        configure_live(environment(), replace(OPTIONS, mode="live"))
    assert str(caught.value) == (
        "--connex-live: nothing is configured. Set CONNEX_REST_URL, CONNEX_WS_URL, CONNEX_API_KEY, "
        "CONNEX_API_SECRET, in the environment or in .env"
    )


def test_a_live_run_with_a_variable_that_cannot_be_used_is_refused(environment):
    with pytest.raises(pytest.UsageError, match="^--connex-live: .*\n  CONNEX_WS_URL contains white space"):
        configure_live(environment(CONNEX_WS_URL="not a URL"), replace(OPTIONS, mode="live"))


def test_every_test_of_connex_knows_its_configuration_first(made_with):
    item = made_with("tmp_path, connex_ws")
    asked = [name for name in item.fixturenames if name not in SETTINGS]
    prepare([item], run_of())
    assert item.fixturenames == ["connex_dialect", "connex_config", "_connex_visit", *asked]


def test_a_test_with_a_sandbox_of_its_own_starts_it_first(made_with):
    item = made_with("tmp_path", "connex_sandbox")
    asked = [name for name in item.fixturenames if name != "connex_sandbox"]
    prepare([item], run_of())
    assert item.fixturenames == ["connex_dialect", "connex_sandbox", "_connex_visit", *asked]


def test_another_test_keeps_its_fixtures(made_with):
    item = made_with("tmp_path")
    before = list(item.fixturenames)
    prepare([item], run_of())
    assert item.fixturenames == before


def test_a_test_of_another_mode_is_marked_as_skipped(made_with):
    item = made_with(marker="connex_live")
    prepare([item], run_of())
    assert item.get_closest_marker("skip").kwargs == {"reason": "needs the live gateway: run with --connex-live"}


def test_a_live_run_that_lacks_nothing_starts(made_with):
    assert prepare([made_with("connex_rest, connex_ws")], run_of("live", live=LIVE)) is None


def test_a_live_run_names_everything_that_its_tests_lack(pytester):
    items = items_of(pytester, "def test_a(connex_rest): pass\ndef test_b(connex_ws): pass")
    assert prepare(items, run_of("live")) == (
        "--connex-live: CONNEX_REST_URL, CONNEX_WS_URL, CONNEX_API_KEY, CONNEX_API_SECRET not set, in the "
        "environment or in .env; set them, or deselect the tests that need them"
    )


def test_a_live_run_needs_nothing_for_what_it_skips(made_with):
    assert prepare([made_with("connex_rest", "connex_recorded")], run_of("live")) is None


def test_a_live_run_needs_both_halves_of_the_credentials_or_none(made_with):
    half = replace(LIVE, api_secret=None)
    assert prepare([made_with("connex_ws")], run_of("live", live=half)).startswith("--connex-live: CONNEX_API_SECRET")


@pytest.mark.parametrize("mode", ["recorded", "sandbox"])
def test_another_run_needs_no_variable(made_with, mode):
    assert prepare([made_with("connex_rest")], run_of(mode)) is None


def test_a_refused_run_is_a_usage_error():
    with pytest.raises(pytest.UsageError) as caught:
        refuse(SimpleNamespace(), [], "not set")
    assert str(caught.value) == "not set"


def test_a_refused_worker_runs_nothing_and_tells_the_controller(made_with):
    config, items = SimpleNamespace(workeroutput={}), [made_with()]
    refuse(config, items, "not set")
    assert (config.workeroutput, items) == ({REFUSAL: "not set"}, [])


def hooked(*answers: object) -> SimpleNamespace:
    """A config whose plugins answer the hook with these."""
    return SimpleNamespace(hook=SimpleNamespace(pytest_connex_secrets=lambda config: list(answers)))


@pytest.mark.parametrize(
    ("answers", "secrets"),
    [([], ()), ([["a", None, ""], ("b", "a")], ("a", "b")), ([[]], ())],
)
def test_the_secrets_of_every_plugin_are_taken_once(answers, secrets):
    assert ask_for_secrets(hooked(*answers)) == secrets


@pytest.mark.parametrize("answer", ["hunter2", [b"hunter2"], [["hunter2"]], [7]])
def test_what_is_no_list_of_strings_is_refused(answer):
    with pytest.raises(pytest.UsageError) as caught:
        ask_for_secrets(hooked(answer))
    assert str(caught.value) == "pytest_connex_secrets must return a list of strings; unset values may be None"


@pytest.mark.parametrize("values", [(), (None, ""), ("12345678",), (None, "12345678", "a-longer-one")])
def test_secrets_that_can_be_replaced_may_be_recorded(values):
    refuse_short_secrets(values)


@pytest.mark.parametrize(
    ("values", "count"), [(("1234567",), 1), (("short", "12345678"), 1), (("a", None, "b", ""), 2)]
)
def test_short_secrets_are_counted_and_not_said(values, count):
    with pytest.raises(pytest.UsageError) as caught:
        refuse_short_secrets(values)
    assert str(caught.value) == (
        f"--connex-record: {count} secret value(s) have fewer than 8 characters and cannot be kept out of "
        "recordings; record with longer ones"
    )


def from_sources(item: pytest.Item, folder: Path, sources: dict[str, str], mode: str, record: str | None) -> Run:
    """A run for whose test there are recordings, by suffix, that say where they are from."""
    run = Run(replace(OPTIONS, mode=mode, record=record, cassette_dir=folder), ConnexConfig())
    stem = plan(item, run).stem
    stem.parent.mkdir(parents=True)
    for suffix, source in sources.items():
        told = {".yaml": f"connex:\n  source: {source}\n", ".ws.jsonl": f'{{"source":"{source}"}}\n'}[suffix]
        stem.with_name(stem.name + suffix).write_text(told)
    return run


# --- What becomes of the recordings ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "record", "there", "expected"),
    [
        ("recorded", None, True, "replay"),
        ("recorded", None, False, "replay"),
        ("sandbox", None, True, "pass"),
        ("sandbox", None, False, "pass"),
        ("sandbox", "once", True, "pass"),
        ("sandbox", "once", False, "record"),
        ("sandbox", "rewrite", True, "record"),
        ("sandbox", "rewrite", False, "record"),
        ("live", None, True, "pass"),
        ("live", "once", True, "pass"),
        ("live", "once", False, "record"),
        ("live", "rewrite", True, "record"),
    ],
)
def test_mode_and_record_mode_say_what_becomes_of_a_recording(made_with, mode, record, there, expected):
    assert action(made_with("connex_ws"), run_of(mode, record), there) == expected


@pytest.mark.parametrize(("mode", "record"), [("recorded", None), ("sandbox", "rewrite"), ("live", "once")])
def test_a_test_with_a_sandbox_of_its_own_has_no_recordings(made_with, mode, record):
    assert action(made_with("connex_ws, connex_sandbox"), run_of(mode, record), False) == "pass"


@pytest.mark.parametrize(("kind", "expected"), [(".ws.jsonl", "pass"), (".yaml", "pass"), (".txt", "record")])
def test_a_recording_of_either_kind_is_kept_by_once(made_with, tmp_path, kind, expected):
    item = made_with("connex_ws")
    run = Run(replace(OPTIONS, mode="sandbox", record="once", cassette_dir=tmp_path), ConnexConfig())
    stem = plan(item, run).stem
    stem.parent.mkdir(parents=True)
    stem.with_name(stem.name + kind).write_text("")
    assert plan(item, run).action == expected


def test_a_plan_says_what_is_recorded_and_where(made_with):
    item = made_with("connex_ws")
    made = plan(item, run_of("sandbox", "rewrite"))
    folder = OPTIONS.cassette_dir / item.path.stem
    assert (made.action, made.stem, made.source, made.generator) == (
        "record",
        folder / "test_it",
        "sandbox",
        "pytest-connex 0.1.0",
    )


def test_a_plan_names_the_test_and_the_command_that_records_it(made_with):
    item = made_with("connex_ws")
    made = plan(item, run_of())
    assert made.test == f"{item.path.name}::test_it"
    assert made.again == (
        f"record it: pytest --connex-sandbox --connex-record=rewrite {item.path.name}::test_it (or --connex-live)"
    )


@pytest.mark.parametrize(
    ("sources", "switch", "other"),
    [
        ({".yaml": "live"}, "--connex-live", ""),
        ({".yaml": "sandbox"}, "--connex-sandbox", ""),
        ({".yaml": "sandbox", ".ws.jsonl": "live"}, "--connex-live", ""),
        ({".yaml": "live", ".ws.jsonl": ""}, "--connex-live", ""),
        ({".yaml": "", ".ws.jsonl": "sandbox"}, "--connex-sandbox", ""),
        ({".yaml": ""}, "--connex-sandbox", " (or --connex-live)"),
        ({".ws.jsonl": "import"}, "--connex-live", ""),
    ],
)
def test_a_plan_records_where_the_recordings_are_from(made_with, tmp_path, sources, switch, other):
    item = made_with("connex_ws")
    made = plan(item, from_sources(item, tmp_path, sources, "recorded", None))
    assert made.again == f"record it: pytest {switch} --connex-record=rewrite {item.path.name}::test_it{other}"


@pytest.mark.parametrize(
    ("mode", "record", "command"),
    [
        ("live", "once", "--connex-live --connex-record=rewrite"),
        ("live", "rewrite", "--connex-live --connex-record=rewrite"),
        ("sandbox", "rewrite", "--connex-sandbox --connex-record=rewrite"),
        ("sandbox", "replace-live", "--connex-sandbox --connex-record=replace-live"),
    ],
)
def test_a_run_that_records_advises_itself(made_with, mode, record, command):
    item = made_with("connex_ws")
    assert plan(item, run_of(mode, record)).again == f"record it: pytest {command} {item.path.name}::test_it"


@pytest.mark.parametrize(
    ("mode", "record", "sources", "kept"),
    [
        ("sandbox", "rewrite", {".yaml": "live", ".ws.jsonl": "sandbox"}, {".yaml": "live"}),
        ("sandbox", "rewrite", {".yaml": "proxy", ".ws.jsonl": "import"}, {".yaml": "proxy", ".ws.jsonl": "import"}),
        ("sandbox", "rewrite", {".yaml": "", ".ws.jsonl": "sandbox"}, {}),
        ("sandbox", "replace-live", {".yaml": "live"}, {}),
        ("live", "rewrite", {".yaml": "live"}, {}),
    ],
)
def test_the_sandbox_replaces_what_is_not_from_it_on_purpose_only(made_with, tmp_path, mode, record, sources, kept):
    item = made_with("connex_ws")
    made = plan(item, from_sources(item, tmp_path, sources, mode, record))
    assert {path.name.removeprefix("test_it"): source for path, source in made.kept.items()} == kept
    assert made.action == ("pass" if kept else "record")


def test_the_command_that_records_a_test_is_one_that_a_shell_understands(collect):
    item = collect(parametrized("it's"))
    command = plan(item, run_of()).again.removeprefix("record it: ").removesuffix(" (or --connex-live)")
    assert shlex.split(command)[-1] == f"{item.path.name}::test_it[it's]"


def test_a_plan_knows_the_time_out_of_the_run(made_with):
    run = Run(replace(OPTIONS, replay_timeout=0.5), ConnexConfig())
    assert plan(made_with("connex_ws"), run).replay_timeout == 0.5


def test_secrets_are_those_of_the_run_of_the_environment_and_of_the_hook(environment):
    environment(CONNEX_API_KEY="of-environment", CONNEX_API_SECRET="a-secret")
    run = replace(run_of("live", live=LIVE), extra=("hunter2-hunter2", "a-key"))
    assert known_secrets(run) == ("a-key", "a-secret", "of-environment", "hunter2-hunter2")


def test_a_plan_knows_the_secrets_of_the_run(made_with, environment):
    environment()
    run = replace(run_of(), extra=("hunter2-hunter2",))
    assert plan(made_with("connex_ws"), run).secrets == ("hunter2-hunter2",)


@pytest.mark.parametrize(
    ("marker", "strict"), [("connex(strict=True)", True), ("connex(strict=False)", False), ("connex", False)]
)
def test_the_marker_says_whether_a_recording_is_strict(made_with, marker, strict):
    assert plan(made_with(marker=marker), run_of()).strict is strict


# --- Where the recordings are ----------------------------------------------------------------------------


def stems(pytester: pytest.Pytester, source: str) -> list[str]:
    return [plan(item, run_of()).stem.name for item in items_of(pytester, source)]


def parametrized(*values: str) -> str:
    return f"@pytest.mark.parametrize('value', {values!r}, ids=str)\ndef test_it(value): pass"


def test_the_files_of_a_test_lie_side_by_side(made_with):
    made = plan(made_with(), run_of())
    folder = OPTIONS.cassette_dir / "test_the_files_of_a_test_lie_side_by_side"
    assert (made.websocket_path, made.http_path) == (folder / "test_it.ws.jsonl", folder / "test_it.yaml")


def test_folders_of_tests_are_folders_of_recordings(pytester):
    pytester.makeini(INI)
    module = pytester.mkdir("deep").joinpath("test_x.py")
    module.write_text("def test_it(): pass")
    [item] = pytester.genitems([pytester.getpathnode(module)])
    assert plan(item, run_of()).stem == OPTIONS.cassette_dir / "deep" / "test_x" / "test_it"


def test_modules_outside_the_rootdir_have_folders_of_their_own(made_with, tmp_path):
    item, folders = made_with(), []
    for place in ("here", "there"):
        item.path = tmp_path.parent / place / "test_x.py"
        folders.append(plan(item, run_of()).stem.parent)
    assert {folder.parent for folder in folders} == {OPTIONS.cassette_dir}
    assert [folder.name[:7] for folder in folders] == ["test_x-", "test_x-"]
    assert folders[0] != folders[1]


@pytest.mark.parametrize("project", ["", "there"])
def test_modules_outside_the_rootdir_are_recorded_in_their_own_project(made_with, tmp_path, project):
    item = made_with()
    outside = tmp_path.parent / f"outside-{tmp_path.name}"
    item.path = outside / "there" / "deep" / "test_x.py"
    item.path.parent.mkdir(parents=True)
    if project:
        (outside / project / "setup.cfg").touch()
    below = Run(replace(OPTIONS, cassette_dir=item.config.rootpath / "tapes"))
    expected = outside / "there" / ("tapes/deep/test_x" if project else "deep/tapes/test_x") / "test_it"
    assert plan(item, below).stem == expected


def test_the_class_of_a_test_is_in_its_name(pytester):
    assert stems(pytester, "class TestA:\n    def test_it(self): pass\ndef test_it(): pass") == [
        "TestA.test_it",
        "test_it",
    ]


def test_classes_within_classes_do_not_collide(pytester):
    within = "class Test{}:\n    class TestIn:\n        def test_it(self): pass\n"
    assert stems(pytester, within.format("A") + within.format("B")) == [
        "TestA.TestIn.test_it",
        "TestB.TestIn.test_it",
    ]


@pytest.mark.parametrize("value", ["plain", "ETH-USDT", "a.b", "a,b=c+d@e", "[x]", "1.10"])
def test_a_name_that_a_file_can_have_is_kept(pytester, value):
    assert stems(pytester, parametrized(value)) == [f"test_it[{value}]"]


@pytest.mark.parametrize(
    ("value", "stem"),
    [
        ("ETH/USDT", "test_it[ETH-USDT]-98af6251"),
        ("../../etc", "test_it[..-..-etc]-c6aeb6fd"),
        ("a b", "test_it[a-b]-66b8cda3"),
        ("a:b", "test_it[a-b]-a5ba7bf6"),
    ],
)
def test_a_name_that_a_file_cannot_have_is_spelled_out_with_its_hash(pytester, value, stem):
    assert stems(pytester, parametrized(value)) == [stem]


def test_names_that_are_spelled_alike_do_not_collide(pytester):
    names = stems(pytester, parametrized("a/b", "a:b", "a b", "a-b"))
    assert len(set(names)) == 4
    assert {name[:12] for name in names} == {"test_it[a-b]"}


def test_long_names_are_cut_and_do_not_collide(pytester):
    names = stems(pytester, parametrized("x" * 300 + "1", "x" * 300 + "2"))
    assert [len(name) for name in names] == [129, 129]
    assert names[0] != names[1]


@pytest.mark.parametrize("length", [111, 112])
def test_a_name_of_up_to_120_characters_is_kept(pytester, length):
    [name] = stems(pytester, parametrized("x" * length))
    assert (name == f"test_it[{'x' * length}]") is (length == 111)


# --- The network and the loop ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("marker", "hosts"),
    [
        ("", ()),
        ("block_network", ()),
        ("block_network(allowed_hosts=None)", ()),
        ("block_network(allowed_hosts=['10.0.0.1', 'db'])", ("10.0.0.1", "db")),
    ],
)
def test_the_hosts_that_a_test_allows_by_its_own_marker_are_known(made_with, marker, hosts):
    assert allowed_hosts(made_with(marker=marker)) == hosts


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (uvloop.EventLoopPolicy, True),
        (uvloop.new_event_loop, True),
        (uvloop.EventLoopPolicy(), True),
        (asyncio.new_event_loop, False),
        ("uvloop", False),
        (None, False),
    ],
    ids=["a class", "a function", "a policy", "asyncio", "text", "nothing"],
)
@pytest.mark.parametrize("place", ["funcargs", "params"])
def test_uvloop_among_the_values_of_a_test_is_found(value, expected, place):
    values = {"funcargs": {}, "params": {}, place: {"value": value}}
    item = SimpleNamespace(funcargs=values["funcargs"], callspec=SimpleNamespace(params=values["params"]))
    assert runs_on_uvloop(item) is expected


@pytest.mark.parametrize("item", [SimpleNamespace(), SimpleNamespace(funcargs={})], ids=["nothing", "no parameters"])
def test_an_item_without_values_does_not_run_on_uvloop(item):
    assert not runs_on_uvloop(item)


def test_where_uvloop_was_not_imported_nothing_runs_on_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "uvloop")
    assert not runs_on_uvloop(SimpleNamespace(funcargs={"value": uvloop.EventLoopPolicy()}))
