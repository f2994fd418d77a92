"""``connex_orderbook``: in every mode, and what a broken rule makes of a test."""

from __future__ import annotations

from pytest_connex.sandbox.server import Sandbox

from .conftest import live_at

FOLLOWING = """
async def test_ws(connex_orderbook):
    book = await connex_orderbook("ETH/USDT", depth=5)
    await book.follow(3)
    assert book.frames == 4
"""


def test_a_followed_book_is_recorded_and_played(project):
    project.test(FOLLOWING)
    project.record()
    assert project.run().parseoutcomes() == {"passed": 1}


def corrupt(project) -> None:
    """Let the recording miss its second update."""
    lines = project.ws.read_text("utf-8").splitlines()
    updates = [number for number, line in enumerate(lines) if r"\"update\"" in line]
    del lines[updates[1]]
    lines[-1] = f'{{"event":"end","events":{len(lines) - 2}}}'
    project.ws.write_text("\n".join(lines) + "\n", "utf-8")


def test_a_gap_fails_the_test_and_says_where(project):
    project.test(FOLLOWING)
    project.record()
    corrupt(project)
    result = project.run()
    assert result.parseoutcomes() == {"failed": 1}
    result.stdout.re_match_lines(
        [r"E +pytest_connex\.errors\.BookError: ETH/USDT, frame 3, breaks the rule 'sequence': expected previous .*"]
    )


SWALLOWING = """
from pytest_connex.errors import ConnexError

async def test_ws(connex_orderbook):
    book = await connex_orderbook("ETH/USDT", depth=5)
    for _ in range(2):
        try:
            await book.follow(1)
        except ConnexError:
            pass
"""


def test_a_test_that_swallows_a_broken_rule_fails_all_the_same(project):
    project.test(FOLLOWING)
    project.record()
    corrupt(project)
    project.test(SWALLOWING)
    result = project.run()
    assert result.ret == 1
    assert result.parseoutcomes() == {"passed": 1, "errors": 1}
    result.stdout.re_match_lines([r"E +pytest_connex\.errors\.BookError: ETH/USDT, frame 3, breaks the rule 'seq.*"])


def test_the_age_of_frames_counts_in_live_runs_only(project):
    project.test(FOLLOWING.replace("depth=5", "depth=5, max_age=0"))
    project.record()
    assert project.run().parseoutcomes() == {"passed": 1}


def test_the_age_of_frames_counts_in_live_runs(project, monkeypatch):
    with Sandbox(interval=0.01) as sandbox:
        live_at(monkeypatch, sandbox.rest_url, sandbox.ws_url, sandbox.api_key, sandbox.api_secret)
        project.test(FOLLOWING.replace("depth=5", "depth=5, max_age=-60_000"))
        result = project.run("--connex-live")
        project.test(FOLLOWING.replace("depth=5", "depth=5, max_age=60_000"))
        assert project.run("--connex-live").parseoutcomes() == {"passed": 1}
    result.stdout.re_match_lines(
        [r"E +pytest_connex\.errors\.BookError: ETH/USDT, frame 1, breaks the rule 'stale'.*"]
    )
