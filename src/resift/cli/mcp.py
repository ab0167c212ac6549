"""``resift mcp``: the tools for agents on stdin and stdout."""

import sys

from resift.cli import options
from resift.cli.output import print_status
from resift.extras import require


def mcp(model: options.Models = None, index: options.Indexes = None) -> None:
    """Give an agent tools to search indexes and to rerank texts (MCP on stdin and stdout)."""
    server = require("resift.serve.mcp", "mcp")
    if sys.stdin is not None and sys.stdin.isatty():
        print_status("waiting for an agent on stdin; Ctrl-C ends it (docs/agents.md)")
    server.serve_stdio(tuple(model or ()), tuple(index or ()))
