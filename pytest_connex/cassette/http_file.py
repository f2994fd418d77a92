"""Reading HTTP recordings: VCR's YAML, checked for what VCR would trip over later, or take for a shorter one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..errors import CassetteError

_MEMBERS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "request": {"method": str, "uri": str, "headers": dict, "body": (str, bytes, type(None))},
    "response": {"status": dict, "headers": dict, "body": dict},
}

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What PyYAML raises for values that a tag of theirs does not allow is not always its own error.
_UNREADABLE = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)


def read_http(path: Path) -> dict[str, Any]:
    """Return the document of a recording: ``interactions``, ``version``, and ``connex`` where we made it.

    Raises:
        CassetteError: It cannot be read, is truncated, or lacks something; with file and line.
    """
    try:
        text = path.read_text("utf-8")
        data = yaml.load(text, Loader=_LOADER)  # noqa: S506  (a safe loader)
    except (OSError, UnicodeDecodeError) as exc:
        raise CassetteError(f"the recording cannot be read: {exc}", path) from exc
    except _UNREADABLE as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise CassetteError(f"not YAML: {getattr(exc, 'problem', exc)}", path, line) from exc
    _check(data, text, path)
    return dict(data)


def _check(data: Any, text: str, path: Path) -> None:
    if not isinstance(data, dict) or not isinstance(data.get("interactions"), list):
        raise CassetteError("not a recording of HTTP: it has no interactions", path, 1)
    interactions = data["interactions"]
    for index, interaction in enumerate(interactions):
        if lacking := _lacking(interaction):
            line = _line_of(text, index)
            raise CassetteError(f"not a recording of HTTP: an interaction lacks {lacking}", path, line)
    facts = data.get("connex")
    counted = facts.get("interactions") if isinstance(facts, dict) else None
    problem = ""
    if counted is not None and counted != len(interactions):
        problem = f"it counts {counted} interactions, found {len(interactions)}"
    elif data.get("version") is None:
        problem = "its last line must be the version"
    if problem:
        raise CassetteError(f"the recording is truncated: {problem}", path, len(text.splitlines()))


def _lacking(interaction: Any) -> str:
    """Name the first member that an interaction needs and does not have, or has of another kind."""
    for half, members in _MEMBERS.items():
        found = interaction.get(half) if isinstance(interaction, dict) else None
        if not isinstance(found, dict):
            return half
        for name, kind in members.items():
            if name not in found or not isinstance(found[name], kind):
                return f"{half}.{name}"
    if not isinstance(interaction["response"]["status"].get("code"), int):
        return "response.status.code"
    return "" if "string" in interaction["response"]["body"] else "response.body.string"


def _line_of(text: str, index: int) -> int:
    """Return the line on which an interaction of a readable file begins, or the first where that cannot be told."""
    line = 1
    for key, value in yaml.compose(text, Loader=_LOADER).value:
        if key.value == "interactions" and isinstance(value, yaml.SequenceNode) and index < len(value.value):
            line = int(value.value[index].start_mark.line) + 1
    return line
