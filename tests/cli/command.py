"""The command in this process, or in one of its own."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PROGRAM = "from resift.cli.main import run; run()"


@dataclass(frozen=True, slots=True)
class Done:
    """The exit code and outputs of a call."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Stdout as JSON lines; fails where anything else is there."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> str:
        """The one line of an error on stderr; fails where there is more, or any output."""
        lines = self.err.splitlines()
        assert self.code == 1 and self.out == "", (self.code, self.out)
        assert len(lines) == 1 and lines[0].startswith("error: "), self.err
        return lines[0]


Resift = Callable[..., Done]


def process(
    *arguments: str, stdin: bytes | None = b"", environment: dict[str, str] | None = None
) -> Done:
    """Run ``resift`` in a process of its own, with real pipes."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        input=stdin, capture_output=True, timeout=120, env=environment,
    )  # fmt: skip
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())


def shell(
    line: str,
    stdin: bytes = b"",
    folder: Path | None = None,
    memory: int | None = None,
    **variables: str,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a line of bash in which ``resift`` is the command; `memory` limits it, in bytes."""

    def limit_memory() -> None:
        if memory is not None:
            resource.setrlimit(resource.RLIMIT_AS, (memory, memory))

    program = f'resift() {{ "{sys.executable}" -c "{PROGRAM}" "$@"; }}\n{line}'
    return subprocess.run(
        ["bash", "-c", program],
        input=stdin, capture_output=True, timeout=120, cwd=folder, preexec_fn=limit_memory,
        env={**os.environ, **variables},
    )  # fmt: skip
