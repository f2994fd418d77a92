"""Reading HTTP recordings: VCR's YAML, checked for what VCR would trip over later, or take for a shorter one.

What :mod:`~pytest_connex.cassette.http_writing` wrote is read as JSON, which is a hundred times as quick as YAML and
means the same; anything else, and what was edited into something else, as YAML.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import yaml

from ..errors import CassetteError
from ..upstreams import REST
from .exchange import Ending, Fields, HttpRequest, Interaction, Piece

_MEMBERS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "request": {"method": str, "uri": str, "headers": dict, "body": (str, bytes, type(None))},
    "response": {"status": dict, "headers": dict, "body": dict},
}

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

# What PyYAML raises for values that a tag of theirs does not allow is not always its own error.
_UNREADABLE = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError)

UNPRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
"""What may stand in JSON as it is, and YAML reads otherwise or not at all."""

_SURROGATE = re.compile(r"\\u[dD][89A-Fa-f]")
"""An escape that JSON knows, and YAML does not: half of a pair."""

_BINARY = re.compile(r'"(body|string)": !!binary "([A-Za-z0-9+/=]*)"')
_TAG = "!!binary"

_BEGIN, _END = "\ninteractions:\n- ", "\nversion: "


class _Ours(msgspec.Struct):
    """What the member ``connex`` of an interaction holds."""

    asked: float
    answered: float | None = None
    order: list[str] = []
    pieces: list[Piece] = []
    over: float | None = None
    ended: Ending = "whole"
    error: str = ""
    errno: int | None = None
    upstream: str = REST


def read_http(path: Path) -> dict[str, Any]:
    """Return the document of a recording: ``interactions``, ``version``, and ``connex`` where we made it.

    Raises:
        CassetteError: It cannot be read, is truncated, or lacks something; with file and line.
    """
    try:
        text = path.read_text("utf-8")
        data = _lines_of_json(text)
        if data is None:
            data = yaml.load(text, Loader=_LOADER)  # noqa: S506  (a safe loader)
    except (OSError, UnicodeDecodeError) as exc:
        raise CassetteError(f"the recording cannot be read: {exc}", path) from exc
    except _UNREADABLE as exc:
        mark = getattr(exc, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise CassetteError(f"not YAML: {getattr(exc, 'problem', exc)}", path, line) from exc
    _check(data, text, path)
    return dict(data)


def read_interactions(path: Path) -> list[Interaction]:
    """Return what a recording holds, in the order of the file.

    Raises:
        CassetteError: It cannot be read, is truncated, or lacks something; with file and line.
    """
    documents = read_http(path)["interactions"]
    documents.reverse()  # so that each can be let go of when it has been read: bodies may be long
    return [interaction_of(documents.pop()) for _ in range(len(documents))]


def interaction_of(document: Mapping[str, Any]) -> Interaction:
    """Return an interaction of a document that :func:`read_http` has returned."""
    request, response = document["request"], document["response"]
    asked = HttpRequest(request["method"], request["uri"], _fields(request["headers"]), _bytes(request["body"]))
    status, headers, body = response["status"], _fields(response["headers"]), _bytes(response["body"]["string"])
    code, reason = status["code"], str(status.get("message") or "")
    if "connex" not in document:  # version 1, or another tool
        return Interaction(asked, code, reason, headers, body)
    ours = msgspec.convert(document["connex"], _Ours)
    return Interaction(
        asked,
        None if ours.answered is None else code,
        reason,
        _in_order(headers, ours.order),
        body,
        ours.asked,
        ours.answered,
        tuple(ours.pieces),
        ours.over,
        ours.ended,
        ours.error,
        ours.errno,
        ours.upstream,
    )


# --- As JSON ---------------------------------------------------------------------------------------------


def _lines_of_json(text: str) -> dict[str, Any] | None:
    """Return the document of a file whose interactions are JSON, each on lines of its own; None for any other."""
    begin, end = text.find(_BEGIN), text.rfind(_END)
    version = text[end + len(_END) :].strip()
    if begin < 0 or end < begin or not version.isdigit():
        return None
    if UNPRINTABLE.search(text) or _SURROGATE.search(text):
        return None
    try:
        interactions = list(map(_decoded, _one_by_one(text, begin + len(_BEGIN), end)))
    except (msgspec.DecodeError, ValueError, LookupError, TypeError):
        return None
    facts = yaml.load(text[:begin], Loader=_LOADER)  # noqa: S506  (a safe loader)
    if not isinstance(facts, dict):
        return None
    return {**facts, "interactions": interactions, "version": int(version)}


def _one_by_one(text: str, begin: int, end: int) -> Iterator[str]:
    """Yield what stands between dashes: JSON has no line ends within strings."""
    while begin < end:
        stop = text.find("\n- ", begin, end)
        stop = end if stop < 0 else stop
        yield text[begin:stop]
        begin = stop + len("\n- ")


def _decoded(text: str) -> Any:
    """Return one interaction; what is not text in it stands behind a tag, as YAML has it."""
    if _TAG not in text:
        return msgspec.json.decode(text)
    interaction = msgspec.json.decode(_BINARY.sub(rf'"\1": {{"{_TAG}": "\2"}}', text))
    for holder, name in ((interaction["request"], "body"), (interaction["response"]["body"], "string")):
        if isinstance(holder[name], dict):
            holder[name] = base64.b64decode(holder[name][_TAG], validate=True)
    return interaction


# --- Members ---------------------------------------------------------------------------------------------


def _fields(headers: Mapping[str, Any]) -> Fields:
    """Return headers one by one: VCR has a list of values for each name, or one."""
    return [
        (str(name), str(value))
        for name, values in headers.items()
        for value in (values if isinstance(values, list) else [values])
    ]


def _in_order(fields: Fields, names: list[str]) -> Fields:
    """Return headers as they came, where those of one name did not come one after the other."""
    if sorted(names) != sorted(name for name, _ in fields):
        return fields  # they did, or somebody has edited them
    values: dict[str, list[str]] = {}
    for name, value in reversed(fields):
        values.setdefault(name, []).append(value)
    return [(name, values[name].pop()) for name in names]


def _bytes(body: str | bytes | None) -> bytes:
    return body.encode() if isinstance(body, str) else body or b""


# --- What a recording must have --------------------------------------------------------------------------


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
    if "string" not in interaction["response"]["body"]:
        return "response.body.string"
    return _lacking_of_ours(interaction["connex"]) if "connex" in interaction else ""


def _lacking_of_ours(member: Any) -> str:
    try:
        msgspec.convert(member, _Ours)
    except msgspec.ValidationError as exc:
        return f"connex: {exc}"
    return ""


def _line_of(text: str, index: int) -> int:
    """Return the line on which an interaction of a readable file begins, or the first where that cannot be told."""
    line = 1
    for key, value in yaml.compose(text, Loader=_LOADER).value:
        if key.value == "interactions" and isinstance(value, yaml.SequenceNode) and index < len(value.value):
            line = int(value.value[index].start_mark.line) + 1
    return line
