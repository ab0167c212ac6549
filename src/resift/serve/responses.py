"""JSON responses, and headers with what a receipt says."""

import math
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json
from starlette.responses import JSONResponse

from resift.plain_json import plain
from resift.types import Receipt


class JSON(JSONResponse):
    """A JSON response. NaN becomes null, and metadata of other types becomes text."""

    def render(self, content: Any) -> bytes:
        """Serialise; what pydantic does not know is made plain first."""
        try:
            return to_json(content, inf_nan_mode="null", fallback=plain)
        except ValueError:  # a lone surrogate in metadata
            return to_json(encodable(plain(content)), inf_nan_mode="null")


def encodable(value: Any) -> Any:
    """The same with U+FFFD in place of lone surrogates."""
    match value:
        case str():
            return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case Mapping():
            return {encodable(key): encodable(entry) for key, entry in value.items()}
        case list():
            return [encodable(entry) for entry in value]
    return value


def retry_after(seconds: float) -> str:
    """A ``Retry-After`` header: whole seconds, rounded up."""
    return str(max(math.ceil(seconds), 1))


def receipt_headers(receipt: Receipt) -> dict[str, str]:
    """Timings in whole ms under the names of TEI's headers, and what was left out.

    ``x-partial`` and ``x-notes`` are ours: they are there only if there is something to tell.
    """
    timings = receipt.timings_ms
    headers = {
        "x-compute-type": f"cpu+{receipt.runtime}",
        "x-compute-tokens": str(receipt.tokens),
        "x-compute-time": _ms(timings.get("total", 0.0)),  # TEI has the total under two names
        "x-tokenization-time": _ms(timings.get("tokenise", 0.0)),
        "x-queue-time": _ms(timings.get("wait", 0.0)),
        "x-inference-time": _ms(timings.get("score", 0.0)),
        "x-total-time": _ms(timings.get("total", 0.0)),
        "x-model-fingerprint": receipt.fingerprint,
    }
    if receipt.partial:
        headers["x-partial"] = header_text(receipt.reason or "true")
    if notes := remarks(receipt):
        headers["x-notes"] = header_text("; ".join(notes))
    return headers


def remarks(receipt: Receipt) -> list[str]:
    """What a caller of a dialect without receipts should know."""
    counts = {
        f"{receipt.cut} of {receipt.depth} documents were cut": receipt.cut,
        f"{receipt.skipped} of {receipt.depth} documents have no text": receipt.skipped,
        f"less than half of {receipt.mostly_unknown} documents is known to the model": (
            receipt.mostly_unknown
        ),
    }
    lines = [line for line, count in counts.items() if count]
    return lines + list(receipt.notes)


def header_text(text: str) -> str:
    """A text as a header value: ASCII, on one line."""
    return " ".join(text.split()).encode("ascii", "replace").decode()[:500]


def _ms(value: float) -> str:
    return str(int(value))
