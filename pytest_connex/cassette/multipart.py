"""Reading bodies that have parts, as forms with files do (RFC 7578)."""

from __future__ import annotations

from email import message_from_bytes
from email.message import Message

from .exchange import HttpRequest, values
from .matching import Said, read_json


def parts_of(request: HttpRequest) -> Said | None:
    """Return what the parts of a body say, by their names; None where it has none."""
    separator = separator_of(request)
    if separator is None:
        return None
    _, *parts, end = (b"\r\n" + request.body).split(b"\r\n--" + separator)
    if end.strip() != b"--":
        return None
    heads, document = [], []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        message = message_from_bytes(head.lstrip(b"\r\n"))
        name = str(message.get_param("name", "", "content-disposition"))
        heads.append(tuple((key.lower(), value) for key, value in message.items()))
        document.append({name: _content(content)})
    return Said(("parts", tuple(heads)), document)


def separator_of(request: HttpRequest) -> bytes | None:
    """Return what a client made up to separate the parts of its body; None where that has no parts."""
    for value in values(request.headers, "content-type"):
        if value.lower().lstrip().startswith("multipart/"):
            message = Message()
            message["Content-Type"] = value
            return (message.get_boundary() or "").encode("latin-1", "replace") or None
    return None


def _content(content: bytes) -> object:
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return f"bytes {content.hex()}"
    known = read_json(text)
    return text if known is None else known[0]
