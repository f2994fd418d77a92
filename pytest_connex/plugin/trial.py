"""One running test that uses Connex: its recordings, and how it is ended after a verdict."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import ReplayAborted

if TYPE_CHECKING:
    from ..cassette.session import CassetteSession
    from ..errors import CassetteError
    from .ending import Ending


@dataclass
class Trial:
    """A test under way.

    Attributes:
        session: Its recordings.
        ending: Ends it where it goes on after its verdict.
        called: Whether its call is under way.
        returned: Whether its call has returned, and raised nothing.
    """

    session: CassetteSession
    ending: Ending
    called: bool = False
    returned: bool = False

    @property
    def verdict(self) -> CassetteError | None:
        """What the recordings say of the test, where it did something else."""
        return self.session.verdict

    async def dials(self) -> None:
        """Let a dial pass, unless the test goes on after its verdict."""
        if self.verdict is None:
            return
        try:
            self.ending.asked_again()
        except ReplayAborted:
            if threading.current_thread() is not threading.main_thread():
                raise
            # A task that dials again and again rests here until it is cancelled. A thread has to end.
            await asyncio.get_running_loop().create_future()

    def dials_sync(self) -> None:
        """Let a dial pass, unless the test goes on after its verdict.

        Raises:
            ReplayAborted: It has done so for long.
        """
        if self.verdict is not None:
            self.ending.asked_again()
