"""A request that declares a body of more bytes than the server accepts."""

import json
from http.client import HTTPConnection
from typing import Any

from resift.serve.gate import MAX_BODY_BYTES


def answer_to_a_large_body(server: str, path: str) -> tuple[int, Any]:
    """The status and the JSON of the answer; no body is sent."""
    connection = HTTPConnection(server.removeprefix("http://"), timeout=60)
    try:
        connection.putrequest("POST", path)
        connection.putheader("content-type", "application/json")
        connection.putheader("content-length", str(MAX_BODY_BYTES + 1))
        connection.endheaders()
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()
