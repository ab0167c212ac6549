"""What rerankers behind a network check and make when they are opened."""

import hashlib

from resift.errors import InputError, shown
from resift.rerank.calibration import SIGMOID, ScoreScale
from resift.rerank.families.server import Server
from resift.rerank.scorer import UNCALIBRATED, Scorer
from resift.rerank.values import number, whole
from resift.settings import Settings
from resift.transport.endpoint import Endpoint, Wording

MAX_SECONDS = 86_400.0
RANKS = ScoreScale("rank", SIGMOID, SIGMOID)
"""Scores that are ranks and nothing else."""


def endpoint_of(server: Server, path: str, settings: Settings, max_requests: int) -> Endpoint:
    """The endpoint at a path of a server."""
    advice = {
        401: f"set {server.variable} to a key that is valid there",
        403: f"set {server.variable} to a key that may use this model",
        404: "check the URL and the model's name",
        405: "check the URL",
    }
    return Endpoint(
        server.url(path),
        server.authorisation,
        settings.ca_file,
        wording=Wording(advice=advice),
        max_requests=max_requests,
    )


def scorer_of(
    service: str, model: str | None, server: Server, *, by_rank: bool = False, detail: str = ""
) -> Scorer:
    """The names of a service for receipts; with `by_rank` its scores are ranks.

    `detail` is what else decides an order.
    """
    digest = hashlib.sha256("\n".join((service, model or "", server.base, detail)).encode())
    name = f"{service}/{model}" if model else service
    scale = RANKS if by_rank else UNCALIBRATED
    return Scorer(name, digest.hexdigest()[:16], server.host, scale)


def checked_model(model: object) -> str | None:
    """A model's name, None without one. Raises `InputError`."""
    if model is not None and not (isinstance(model, str) and model.strip()):
        raise InputError(f"model={shown(model)}: expected the name of a model of the service")
    return model


def checked_seconds(name: str, value: object) -> float:
    """Seconds above 0, up to a day. Raises `InputError`."""
    seconds = number(value)
    if seconds is None or not 0 < seconds <= MAX_SECONDS:
        raise InputError(f"{name}={shown(value)}: expected seconds above 0, up to {MAX_SECONDS:g}")
    return seconds


def checked_number(name: str, value: object, most: int = 1_000) -> int:
    """A whole number from 1 to `most`. Raises `InputError`."""
    count = whole(value)
    if count is None or not 1 <= count <= most:
        raise InputError(f"{name}={shown(value)}: expected a whole number from 1 to {most}")
    return count
