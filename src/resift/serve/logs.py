"""Logs as lines of JSON on stderr: a request each, without texts and without keys."""

import json
import logging
import sys

from resift.serve.gate import Finished

_log = logging.getLogger("resift.requests")


def log_request(finished: Finished) -> None:
    """Log one request."""
    _log.info(
        json.dumps(
            {
                "request_id": finished.request_id,
                "method": finished.method,
                "path": finished.path,
                "dialect": finished.dialect,
                "status": finished.status,
                "problem": finished.problem,
                "ms": round(finished.seconds * 1000, 1),
                "bytes": finished.bytes,
            }
        )
    )


def log_to_stderr() -> None:
    """Send the server's logs to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    logger = logging.getLogger("resift")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
