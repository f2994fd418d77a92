"""What recordings have to know of a test: the servers behind it, whose keys, and how Connex is spoken to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..errors import CassetteError
from .run import SETTINGS, Run

if TYPE_CHECKING:
    from ..cassette.session import Settings
    from ..config import ConnexConfig


def settings_of(run: Run, known: Mapping[str, Any]) -> Settings:
    """Return what recordings have to know of a test.

    Args:
        run: Knows the servers.
        known: The values of the fixtures, as far as they have been set up.

    Raises:
        CassetteError: They are asked for before the fixtures know them, or because one of those failed.
    """
    from ..cassette.session import Settings
    from ..upstreams import all_upstreams

    for name in SETTINGS:
        if name not in known:
            raise CassetteError(f"{name} is needed for recordings, and the fixture has not been set up", again=False)
    config: ConnexConfig = known["connex_config"]
    return Settings(config, known["connex_dialect"], all_upstreams(run.behind or config, run.upstreams))
