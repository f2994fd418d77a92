"""Whose dial it is: the proxy's own, or somebody else's."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest

from pytest_connex.proxy.whose import THREADS, at_door, is_at_door


def test_whoever_says_nothing_is_somebody_else():
    assert not is_at_door()


def test_what_a_task_of_the_proxy_dials_is_the_proxy_s_and_no_other_task_s():
    async def ours() -> list[bool]:
        at_door()
        return [is_at_door(), await asyncio.create_task(theirs()), await asyncio.to_thread(is_at_door)]

    async def theirs() -> bool:
        return is_at_door()

    async def main() -> tuple[list[bool], bool]:
        return await asyncio.create_task(ours()), await asyncio.create_task(theirs())

    assert asyncio.run(main()) == ([True, True, True], False)


def test_what_it_said_holds_for_its_own_context_only():
    contextvars.copy_context().run(at_door)
    assert not is_at_door()


@pytest.mark.parametrize(("name", "expected"), [(f"{THREADS}proxy", True), ("a client", False)])
def test_what_our_own_threads_dial_is_the_proxy_s(name, expected):
    found: list[bool] = []
    thread = threading.Thread(target=lambda: found.append(is_at_door()), name=name)
    thread.start()
    thread.join()
    assert found == [expected]
