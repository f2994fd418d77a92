"""The commands of ``connex``, run within this process."""

from __future__ import annotations

import inspect

from click.testing import Result
from typer.testing import CliRunner

from pytest_connex.cli import app
from pytest_connex.config import VARIABLES
from pytest_connex.sandbox.server import Sandbox

# Older versions of click mix what goes to the two, unless they are told not to.
_APART = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}


def run(*args: object) -> Result:
    """Run ``connex`` with ``args``; ``stdout`` and ``stderr`` of the result are apart."""
    return CliRunner(**_APART).invoke(app, list(map(str, args)))


def variables(sandbox: Sandbox) -> dict[str, str]:
    """The environment in which a command finds Connex in a sandbox."""
    values = (sandbox.rest_url, sandbox.ws_url, sandbox.api_key, sandbox.api_secret)
    return dict(zip(VARIABLES, values, strict=True))
