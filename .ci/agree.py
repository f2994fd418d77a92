"""Tell whether two folders hold the same recordings, but for what differs in every run.

Times, nonces and rate limits are normalised; received messages after the last sent one are dropped, because how many
of them arrived before the test ended is a matter of chance.

    python .ci/agree.py FOLDER OTHER
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import yaml

_CHANGING = re.compile(r'("(?:timestamp|nonce)": "?)[0-9]+')
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
        return data
    header, *events, _ = (json.loads(line) for line in text.splitlines())
    by_connection: dict[int, list[dict[str, object]]] = {}
    for event in events:
        del event["at"]
        event["text"] = _CHANGING.sub(r"\1*", event.get("text", ""))
        by_connection.setdefault(event["conn"], []).append(event)
    return [header["test"], *map(without_the_rest, by_connection.values())]


def without_the_rest(events: list[dict[str, object]]) -> list[dict[str, object]]:
    """Drop the messages that were received after the last one was sent."""
    last_sent = max((index for index, event in enumerate(events) if event["event"] == "sent"), default=-1)
    return [event for index, event in enumerate(events) if index <= last_sent or event["event"] != "received"]


def recordings(folder: str) -> dict[Path, Path]:
    """Return the files of a folder by their place in it."""
    paths = (path for path in Path(folder).rglob("*.*") if path.is_file() and path.parent.name != "schemas")
    return {path.relative_to(folder): path for path in paths}


def main() -> int:
    """Compare, say what differs, and return the exit code."""
    left, right = recordings(sys.argv[1]), recordings(sys.argv[2])
    differing = sorted(left.keys() ^ right.keys())
    differing += [name for name in left.keys() & right.keys() if normalised(left[name]) != normalised(right[name])]
    for name in differing:
        print(f"differs: {name}")
    print(f"{len(left)} recordings, {len(differing)} differ")
    return 1 if differing or not left else 0


if __name__ == "__main__":
    sys.exit(main())
