"""Waiting until a connection takes more."""

from __future__ import annotations

import asyncio

from pytest_connex.proxy.flow import Flow


async def test_there_is_room_until_somebody_says_otherwise():
    flow = Flow()
    await flow.room()
    flow.resume()
    await flow.room()


async def test_every_writer_waits_and_goes_on():
    flow = Flow()
    flow.pause()
    writers = [asyncio.ensure_future(flow.room()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(writer.done() for writer in writers)
    flow.resume()
    await asyncio.gather(*writers)
    await flow.room()


async def test_a_writer_that_gives_up_takes_nobody_with_it():
    flow = Flow()
    flow.pause()
    first, second = (asyncio.ensure_future(flow.room()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    assert not second.done()
    flow.resume()
    await second
