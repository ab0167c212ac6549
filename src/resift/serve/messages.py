"""JSON-RPC messages on lines: what is none is answered with an error, and surrogates are mended.

The package mcp leaves such lines without an answer, and a client would wait for ever.
"""

import json
from collections.abc import AsyncIterator

from resift.serve.dialect import read_json
from resift.serve.pipes import LineReader, TextWriter

MAX_CHARACTERS = 16_000_000
PARSE_ERROR, INVALID_REQUEST = -32700, -32600


async def messages(reader: LineReader, writer: TextWriter) -> AsyncIterator[str]:
    """The lines of `reader` that are messages; errors for the others go to `writer`."""
    async for line in reader:
        if not line.strip():
            continue
        try:
            value = read_json(line.encode()) if len(line) <= MAX_CHARACTERS else None
        except json.JSONDecodeError as error:
            await writer.write(_error(PARSE_ERROR, f"not JSON: {error.msg}"))
            continue
        if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
            await writer.write(_error(INVALID_REQUEST, 'expected an object with "jsonrpc": "2.0"'))
        elif not ({"method", "result", "error"} & value.keys()):
            await writer.write(_error(INVALID_REQUEST, 'expected a "method"', value.get("id")))
        else:
            yield json.dumps(value, ensure_ascii=False) + "\n"


def _error(code: int, message: str, number: object = None) -> str:
    number = number if isinstance(number, int | str) else None
    fault = {"code": code, "message": message}
    return json.dumps({"jsonrpc": "2.0", "id": number, "error": fault}) + "\n"
