"""Forms: how the messages that a function builds are recognized, and read back to its arguments.

A sans-I/O core. A form builds a few messages and compares them. What stays the same is how such a message is
recognized; what changes with an argument is where that argument stands. So whoever writes the function that builds a
message need not write the one that reads it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from decimal import Decimal
from typing import NamedTuple, TypeAlias

from ..errors import ConfigError
from ..model import JSON
from ..protocol import excerpt

Place: TypeAlias = tuple[str | int, ...]
"""Where a value stands in a message: names of members and positions in arrays, from the outside in."""


class Leaf(NamedTuple):
    """A value that is neither an object nor an array with something in it; ``1``, ``1.0`` and ``true`` differ."""

    kind: type
    value: JSON


Leaves: TypeAlias = dict[Place, Leaf]


def leaves(value: JSON, place: Place = ()) -> Leaves:
    """Return the values of a message, each at its place."""
    if isinstance(value, Mapping) and value:
        inner: Iterable[tuple[str | int, JSON]] = value.items()
    elif isinstance(value, (list, tuple)) and value:
        inner = enumerate(value)
    else:
        exact = Decimal(repr(value)) if isinstance(value, float) else value
        return {place: Leaf(type(exact), exact)}
    return {where: leaf for name, held in inner for where, leaf in leaves(held, (*place, name)).items()}


def at(message: JSON, place: Place) -> JSON:
    """Return what stands at a place of a message, or None."""
    for name in place:
        if isinstance(message, Mapping):
            message = message.get(name)
        elif isinstance(message, list) and isinstance(name, int) and name < len(message):
            message = message[name]
        else:
            return None
    return message


def dotted(place: Place) -> str:
    """Return a place as ``volatile_paths`` spells it: positions in arrays are left out."""
    return ".".join(name for name in place if isinstance(name, str))


class Form:
    """The messages that one function builds.

    Args:
        name: What the function is called, for errors.
        build: Builds a message of named arguments.
        base: Arguments to build with.
        others: Another value for each argument that is to be read back.
        volatile: Dotted paths of members that mean nothing to a reader.

    Attributes:
        places: Where each argument of ``others`` stands: at no place, at one or at several, alone or with others.

    Raises:
        ConfigError: Nothing can be built, or what is built is no object.
    """

    def __init__(
        self,
        name: str,
        build: Callable[..., Mapping[str, JSON]],
        base: Mapping[str, JSON],
        others: Mapping[str, JSON],
        volatile: Collection[str] = (),
    ) -> None:
        self.name = name
        self._build = build
        self._base = dict(base)
        self._first = first = self.built()
        changing = {place for place, leaf in self.built().items() if first.get(place) != leaf}
        self.places: dict[str, tuple[Place, ...]] = {}
        self._verbatim: dict[str, Place] = {}
        for argument, value in others.items():
            other = self.built(**{argument: value})
            differing = (place for place in {**first, **other} if first.get(place) != other.get(place))
            self.places[argument] = places = tuple(place for place in differing if place not in changing)
            for place in places:
                if _spells(first.get(place), self._base[argument]) and _spells(other.get(place), value):
                    self._verbatim.setdefault(argument, place)
        self._varied = tuple({place: None for places in self.places.values() for place in places})
        self._constant = {
            place: leaf
            for place, leaf in first.items()
            if place not in changing and place not in self._varied and dotted(place) not in volatile
        }

    def built(self, **arguments: JSON) -> Leaves:
        """Build a message, and return its values.

        Raises:
            ConfigError: The function fails, or builds no object.
        """
        try:
            message = self._build(**(self._base | arguments))
        except Exception as exc:
            raise ConfigError(f"{self.name}() failed: {type(exc).__name__}: {exc}") from exc
        if not isinstance(message, Mapping):
            raise ConfigError(f"{self.name}() must return an object, not {type(message).__name__}")
        return leaves(message)

    def fit(self, given: Leaves) -> int:
        """Return how much of a message is as this function builds it; 0 where it is none of its messages."""
        if any(given.get(place) != leaf for place, leaf in self._constant.items()):
            return 0
        return len(self._constant) + sum(place in given for place in self._varied)

    def verbatim(self, argument: str) -> Place | None:
        """Return the place where an argument stands as it is, or as the number that it spells."""
        return self._verbatim.get(argument)

    def sample(self) -> Leaves:
        """Return the values of the message that the function builds of the base arguments."""
        return self._first

    def solve(
        self, given: Leaves, candidates: Iterable[Mapping[str, JSON]], passed: Collection[Place] = ()
    ) -> Mapping[str, JSON] | None:
        """Return the first of the arguments with which the function builds the message, or None.

        Args:
            given: The message.
            candidates: The arguments to try.
            passed: Places that do not count.
        """
        places = [place for place in self._varied if place not in passed]
        wanted = [given.get(place) for place in places]
        for arguments in candidates:
            built = self.built(**arguments)
            if [built.get(place) for place in places] == wanted:
                return arguments
        return None

    def knows(self, given: Leaves, argument: str, values: Iterable[JSON]) -> bool:
        """Tell whether a message has, where an argument stands, what one of its values is written as."""
        places = self.places[argument]
        wanted = [given.get(place) for place in places]
        return any(
            [built.get(place) for place in places] == wanted
            for built in (self.built(**{argument: value}) for value in values)
        )

    def shown(self, given: Leaves, argument: str) -> str | None:
        """Return what a message has where an argument stands, for people; None where there is nothing."""
        found = [given[place].value for place in self.places[argument] if place in given]
        return excerpt(str(found[0])) if found else None


def _spells(leaf: Leaf | None, value: JSON) -> bool:
    return leaf is not None and str(leaf.value) == str(value)
