"""Scripted misbehaviour: what goes wrong, how often, and when; the sandbox's and the proxy's alike.

Sans-I/O. A test adds to :class:`Faults` from its own thread while a server asks for what is next from another; what
goes wrong on one WebSocket connection is a :class:`Trouble`. How it looks on the wire is the business of
:mod:`~pytest_connex.proxy` and of :class:`~pytest_connex.proxy.endpoint.Endpoint`.
"""

from .connection import Trouble
from .kinds import Answer, Change, Cut, Ending, EndingKind, HttpFault, Pace
from .script import Faults
from .spelling import SCRIPTABLE, apply_fault, parse_fault

__all__ = [
    "SCRIPTABLE",
    "Answer",
    "Change",
    "Cut",
    "Ending",
    "EndingKind",
    "Faults",
    "HttpFault",
    "Pace",
    "Trouble",
    "apply_fault",
    "parse_fault",
]
