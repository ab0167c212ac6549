"""``resift mcp``: the tools for agents on stdin and stdout."""

import sys
from typing import Annotated

import typer

from resift.cli.output import print_status
from resift.extras import require


def mcp(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="Folder or hub id, or ALIAS=NAME; the first one is used.  "
            "[default: RESIFT_MODEL or bundled]",
        ),
    ] = None,
    index: Annotated[
        list[str] | None,
        typer.Option(
            "--index", help="Folder or s3:// URI of an index, or ALIAS=URI; may be repeated."
        ),
    ] = None,
) -> None:
    """Give an agent tools to search indexes and to rerank texts (MCP on stdin and stdout)."""
    server = require("resift.serve.mcp", "mcp")
    if sys.stdin is not None and sys.stdin.isatty():
        print_status("waiting for an agent on stdin; Ctrl-C ends it (docs/agents.md)")
    server.serve_stdio(tuple(model or ()), tuple(index or ()))
