"""Moving recordings to where those of a renamed test are looked for.

Nothing but the entry that names the test is changed in a file. Nothing is overwritten, and everything is moved or
nothing; no symbolic link leads out of the folder of the recordings.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..errors import CassetteError
from .library import recordings_in
from .places import WEBSOCKET_SUFFIX, files_at, node_id_at, place_of, stem_of

_TEST = re.compile(rb'"test"\s*:\s*("(?:[^"\\]|\\.)*")')
_HEAD = 2**20
"""So many bytes are read at most to find what a file says of itself."""


class Move(NamedTuple):
    """One file, where it is to be, and the node id that it is to name; empty where that stays."""

    old: Path
    new: Path
    test: str


def plan_moves(folder: Path, old: str, new: str) -> list[Move]:
    """Return what has to be moved.

    Args:
        folder: The folder of the recordings.
        old: The node id of a test, the path of a module, or the path of a recording, with its suffix or without.
        new: The same for where it is to be.

    Raises:
        CassetteError: There is nothing to move, or something in its way; the message says what.
    """
    if _is_module(old) != _is_module(new):
        raise CassetteError(f"{old} and {new} must both be modules, or both be tests")
    moves = _module_moves(folder, old, new) if _is_module(old) else _test_moves(folder, old, new)
    if not moves:
        raise CassetteError(f"there is no recording of {old} in {folder}")
    for move in moves:
        _refuse_escape(folder, move.old)
        _refuse_escape(folder, move.new)
        if os.path.lexists(move.new):
            raise CassetteError("there is a recording already; nothing was moved", move.new)
    return moves


def move_all(moves: Iterable[Move]) -> None:
    """Move files, all of them or none.

    Raises:
        CassetteError: One cannot be read or written; everything is as it was.
    """
    moves = list(moves)
    written: list[Path] = []
    try:
        for move in moves:
            move.new.parent.mkdir(parents=True, exist_ok=True)
            with move.new.open("xb") as target:
                written.append(move.new)
                _copy(move, target)
            shutil.copymode(move.old, move.new)
    except (OSError, CassetteError) as exc:
        for path in written:
            path.unlink(missing_ok=True)
        if isinstance(exc, CassetteError):
            raise
        raise CassetteError(f"cannot be moved: {exc.strerror}; nothing was moved", Path(exc.filename or "")) from exc
    for move in moves:
        move.old.unlink()
        with suppress(OSError):  # others are left in it
            move.old.parent.rmdir()


def _is_module(name: str) -> bool:
    return name.endswith(".py") and "::" not in name


def _test_moves(folder: Path, old: str, new: str) -> list[Move]:
    source, target = _stem(folder, old), _stem(folder, new)
    return [
        Move(
            path, target.with_name(f"{target.name}{path.name.removeprefix(source.name)}"), _renamed(folder, new, path)
        )
        for path in files_at(source)
    ]


def _module_moves(folder: Path, old: str, new: str) -> list[Move]:
    source, target = folder / place_of(old), folder / place_of(new)
    return [
        Move(path, target / path.name, _in_module(_head_of(path)[0], new))
        for path in recordings_in(source)
        if path.parent == source
    ]


def _stem(folder: Path, name: str) -> Path:
    return folder / place_of(name) if "::" in name else stem_of(Path(name))


def _renamed(folder: Path, new: str, path: Path) -> str:
    """Return the node id that a moved recording names."""
    if "::" in new:
        return new
    stem = stem_of(Path(new))
    module = _head_of(path)[0].partition("::")[0]
    with suppress(ValueError):
        found = stem.parent.resolve().relative_to(folder.resolve())
        if Path(module).with_suffix("") != found:
            module = f"{found.as_posix()}.py"
    return node_id_at(stem, module)


def _in_module(test: str, module: str) -> str:
    _, separator, name = test.partition("::")
    return f"{module}{separator}{name}"


def _refuse_escape(folder: Path, path: Path) -> None:
    top = folder.resolve()
    if path.is_symlink() or not path.parent.resolve().is_relative_to(top):
        raise CassetteError(
            f"is not within {folder}, or a symbolic link; name the folder of the recordings with --dir", path
        )


def _copy(move: Move, target: BinaryIO) -> None:
    _, start, stop = _head_of(move.old)
    written = json.dumps(move.test, ensure_ascii=False) if _is_websocket(move.old) else _yaml_scalar(move.test)
    with move.old.open("rb") as file:
        target.write(file.read(start))
        target.write(written.encode())
        file.seek(stop)
        shutil.copyfileobj(file, target)


def _head_of(path: Path) -> tuple[str, int, int]:
    """Return the node id that a recording names, and the bytes between which it is written."""
    try:
        with path.open("rb") as file:
            found = _websocket_test(file) if _is_websocket(path) else _http_test(file)
    except OSError as exc:
        raise CassetteError(f"the recording cannot be read: {exc.strerror}", path) from exc
    if found is None:
        raise CassetteError("the recording does not say which test it is of; nothing was moved", path, 1)
    return found


def _is_websocket(path: Path) -> bool:
    return path.name.endswith(WEBSOCKET_SUFFIX)


def _websocket_test(file: BinaryIO) -> tuple[str, int, int] | None:
    found = _TEST.search(file.readline(_HEAD))
    if found is None:
        return None
    with suppress(ValueError):
        return json.loads(found[1]), *found.span(1)
    return None


def _http_test(file: BinaryIO) -> tuple[str, int, int] | None:
    import yaml

    head, size = b"", 0
    while (line := file.readline(_HEAD)) and not line.startswith(b"interactions:") and size < _HEAD:
        head += line
        size += len(line)
    try:
        text = head.decode()
        document = yaml.compose(text, Loader=yaml.SafeLoader)
        facts = next(value for key, value in document.value if key.value == "connex")
        test = next(value for key, value in facts.value if key.value == "test")
    except (yaml.YAMLError, UnicodeDecodeError, AttributeError, TypeError, ValueError, StopIteration):
        return None
    start, stop = (len(text[: mark.index].encode()) for mark in (test.start_mark, test.end_mark))
    return test.value, start, stop


def _yaml_scalar(text: str) -> str:
    import yaml

    dumped: str = yaml.safe_dump([text], width=float("inf"), default_flow_style=False)
    return dumped.removeprefix("- ").rstrip("\n")
