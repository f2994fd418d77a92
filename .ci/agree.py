"""Tell whether two folders hold the same recordings, but for what differs in every run.

Times, nonces and rate limits are normalised. How many messages a client has received before it goes on is a matter of
chance: those that both received are compared.

    python .ci/agree.py FOLDER OTHER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml

_CHANGING = re.compile(r'("(?:timestamp|nonce)": "?)[0-9]+')
_TIMES = {"asked", "answered", "pieces", "over"}
_HEADERS = {"date", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"}


def normalised(path: Path) -> object:
    """Return what a recording holds without what differs in every run."""
    text = path.read_text("utf-8")
    if path.suffix == ".yaml":
        data = yaml.safe_load(text)
        del data["connex"]["recorded_at"]
        for interaction in data["interactions"]:
            headers = interaction["response"]["headers"]
            interaction["response"]["headers"] = {n: v for n, v in headers.items() if n.lower() not in _HEADERS}
            body = interaction["response"]["body"]
            body["string"] = _CHANGING.sub(r"\1*", str(body["string"]))
            ours = interaction.get("connex", {})
            interaction["connex"] = {name: value for name, value in ours.items() if name not in _TIMES}
        return data
    header = json.loads(text.splitlines()[0])
    return [header["test"], *map(without_received, by_connection(path).values())]


def by_connection(path: Path) -> dict[int, list[dict[str, object]]]:
    """Return the events of each connection of a WebSocket recording, without what differs in every run."""
    _, *events, _ = (json.loads(line) for line in path.read_text("utf-8").splitlines())
    found: dict[int, list[dict[str, object]]] = {}
    for event in events:
        del event["at"]
        event["text"] = _CHANGING.sub(r"\1*", event.get("text", ""))
        found.setdefault(event["conn"], []).append(event)
    return found


def agree(left: Path, right: Path) -> bool:
    """Tell whether two recordings are the same."""
    return normalised(left) == normalised(right) and agree_on_received(left, right)


def without_received(events: list[dict[str, object]]) -> list[dict[str, object]]:
    """Drop the messages that were received: how many came before what the client did next is a matter of chance."""
    return [event for event in events if event["event"] != "received"]


def agree_on_received(left: Path, right: Path) -> bool:
    """Tell whether both clients received the same, as far as both stayed to hear it."""
    return all(
        all(mine == its for mine, its in zip(received, received_there, strict=False))
        for received, received_there in zip(received_by_connection(left), received_by_connection(right), strict=True)
    )


def received_by_connection(path: Path) -> list[list[object]]:
    """Return what each connection of a WebSocket recording received; nothing for one of HTTP."""
    return (
        []
        if path.suffix == ".yaml"
        else [[event for event in events if event["event"] == "received"] for events in by_connection(path).values()]
    )


def recordings(folder: str) -> dict[Path, Path]:
    """Return the files of a folder by their place in it."""
    paths = (path for path in Path(folder).rglob("*.*") if path.is_file() and path.parent.name != "schemas")
    return {path.relative_to(folder): path for path in paths}


def main() -> int:
    """Compare, say what differs, and return the exit code."""
    left, right = recordings(sys.argv[1]), recordings(sys.argv[2])
    differing = sorted(left.keys() ^ right.keys())
    differing += [name for name in left.keys() & right.keys() if not agree(left[name], right[name])]
    for name in differing:
        print(f"differs: {name}")
    print(f"{len(left)} recordings, {len(differing)} differ")
    return 1 if differing or not left else 0


if __name__ == "__main__":
    sys.exit(main())
