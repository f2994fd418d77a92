"""The project's dialect on the command line: ``--dialect module:Class``."""

from __future__ import annotations

import importlib
import sys
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..protocol import Dialect


def load_dialect(named: str) -> Dialect:
    """Return the dialect that ``module:Class`` names; what is no class must be a dialect itself.

    The module is looked for in the current folder too.

    Raises:
        ConfigError: There is no such module or class, it is no dialect, or it fails.
    """
    from ..protocol import Dialect

    module_name, colon, name = named.partition(":")
    if not (module_name and colon and name):
        raise ConfigError(f"--dialect {named}: it must be MODULE:CLASS, for example conftest:MyDialect")
    try:
        found = attrgetter(name)(_module(named, module_name))
    except AttributeError as exc:
        raise ConfigError(f"--dialect {named}: there is no {name} in {module_name}") from exc
    try:
        made = found() if isinstance(found, type) and issubclass(found, Dialect) else found
    except Exception as exc:
        raise ConfigError(f"--dialect {named}: {name}() failed: {type(exc).__name__}: {exc}") from exc
    if not isinstance(made, Dialect):
        raise ConfigError(
            f"--dialect {named}: {name} is no subclass of pytest_connex.Dialect, and no instance of one"
        )
    return made


def _module(named: str, name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is not None and (name == exc.name or name.startswith(f"{exc.name}.")):
            raise ConfigError(f"--dialect {named}: there is no module {name}, in {here} or installed") from exc
        raise ConfigError(f"--dialect {named}: {name} cannot be imported: {exc}") from exc
    except Exception as exc:
        raise ConfigError(f"--dialect {named}: {name} cannot be imported: {type(exc).__name__}: {exc}") from exc
