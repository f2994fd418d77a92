"""Where the recordings of a test are: in the folder of its module, in a file of each kind, named after the test.

Both are found from a node id too, so that a command may be given what pytest prints.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

WEBSOCKET_SUFFIX = ".ws.jsonl"
HTTP_SUFFIX = ".yaml"
SUFFIXES = (WEBSOCKET_SUFFIX, HTTP_SUFFIX)

UNUSED_OPTION = "--connex-unused"
"""For ``connex cassettes prune``: the file that takes the paths of unused recordings, in JSON."""

_NAME_LIMIT = 120
_SHARED = "@"


def files_at(stem: Path) -> list[Path]:
    """Return the recordings that there are at a place without its suffix, of either kind."""
    return [path for suffix in SUFFIXES if (path := stem.with_name(f"{stem.name}{suffix}")).is_file()]


def stem_of(path: Path) -> Path:
    """Return the place of a recording without its suffix."""
    suffix = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), "")
    return path.with_name(path.name.removesuffix(suffix))


def fixture_name(fixture: str, owner: str = "", parameter: str = "") -> str:
    """Return what the recordings of a fixture that tests share are named after: it, its class and its parameter."""
    return f"{owner and f'{owner}.'}{_SHARED}{fixture}{parameter and f'[{parameter}]'}"


def fixture_of(path: Path) -> str | None:
    """Return the fixture whose recording this is, or None for the recording of a test."""
    before, shared, rest = path.name.partition(_SHARED)
    named = shared and (not before or before.endswith("."))
    return re.split(r"[\[.]", rest, maxsplit=1)[0] if named else None


def file_name(test: str) -> str:
    """Return what the files of a test are called, without their suffixes.

    Args:
        test: Its name with its parameters, after the names of its classes and a dot: ``TestX.test_y[1]``.
    """
    safe = re.sub(r"[^A-Za-z0-9._=+,@\[\]-]", "-", test)[:_NAME_LIMIT]
    return test if safe == test else f"{safe}-{digest(test)}"


def digest(text: str) -> str:
    """Return a few characters that tell two texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def place_of(node_id: str) -> Path:
    """Return the place of a test's recordings, or that of a module's, from the folder of the recordings."""
    head, bracket, parameters = node_id.partition("[")
    module, *names = head.split("::")
    folder = Path(module).with_suffix("")
    return folder / file_name(".".join(names) + bracket + parameters) if names else folder


def node_id_at(place: Path, module: str) -> str:
    """Return the node id that a place without its suffix stands for, as far as its name tells."""
    head, bracket, parameters = place.name.partition("[")
    return f"{module}::{head.replace('.', '::')}{bracket}{parameters}"
