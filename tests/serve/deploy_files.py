"""What the files in deploy/ say, in Python's types."""

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from resift.cli.app import app
from resift.serve.options import ServeOptions
from resift.settings import Settings

ROOT = Path(__file__).parent.parent.parent
DEPLOY = ROOT / "deploy"

_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def text(name: str) -> str:
    """The text of a file in deploy/."""
    return (DEPLOY / name).read_text(encoding="utf-8")


def documents(name: str) -> list[Any]:
    """The documents of a YAML file in deploy/."""
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(text(name)))


def service(name: str, **variables: str) -> dict[str, Any]:
    """A service of the compose file, with variables put in as Compose does."""
    (composition,) = documents("compose.yaml")
    return _filled(composition["services"][name], variables)  # type: ignore[no-any-return]


def _filled(value: Any, variables: Mapping[str, str]) -> Any:
    match value:
        case str():
            return _VARIABLE.sub(lambda match: _value(match, variables), value)
        case list():
            return [_filled(entry, variables) for entry in value]
        case dict():
            return {key: _filled(entry, variables) for key, entry in value.items()}
    return value


def _value(match: re.Match[str], variables: Mapping[str, str]) -> str:
    name, operator, rest = match.groups()
    if variables.get(name):
        return variables[name]
    if operator != "-":
        raise KeyError(f"{name}: {rest}")
    return str(rest)


def parsed(arguments: Sequence[str]) -> dict[str, Any]:
    """The parameters of a command line of resift; exits for one that is wrong."""
    name, *rest = arguments
    command: Any = get_command(app)
    return dict(command.commands[name].make_context(name, rest).params)


def serve_options(arguments: Sequence[str]) -> ServeOptions:
    """The checked options of a ``serve`` command line, without its file of keys."""
    assert arguments[0] == "serve"
    parameters = parsed(arguments)
    return ServeOptions(
        models=tuple(parameters["model"] or ()),
        indexes=tuple(parameters["index"] or ()),
        host=parameters["host"],
        port=parameters["port"],
        workers=parameters["workers"],
        max_queue_tokens=parameters["max_queue_tokens"],
        allowed_hosts=tuple(parameters["allowed_host"] or ()),
    )


def settings(environment: Mapping[str, str], log: pytest.LogCaptureFixture) -> Settings:
    """The settings of an environment; fails for a variable that resift does not know."""
    log.clear()
    loaded = Settings.load(environment)
    assert log.messages == []
    return loaded


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile and their arguments, in order."""
    lines = [line for line in text("Dockerfile").splitlines() if not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    pairs = [line.partition(" ") for line in joined.splitlines() if line]
    return [(name, rest.strip()) for name, _, rest in pairs]


def last(instruction: str) -> str:
    """The last argument of an instruction of the Dockerfile."""
    return [rest for name, rest in instructions() if name == instruction][-1]


def image_command() -> list[str]:
    """What a container runs without arguments."""
    return [*json.loads(last("ENTRYPOINT")), *json.loads(last("CMD"))]


def unit() -> dict[str, list[str]]:
    """The values of each key in the unit of systemd."""
    values: dict[str, list[str]] = {}
    for line in text("resift.service").splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(name, []).append(value)
    return values


def version() -> str:
    """The version in pyproject.toml."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return str(project["project"]["version"])
