"""The name of a second stage → the second stage: a model, a service, a language model, a chain."""

import difflib
import os
import re

from resift.errors import InputError, ModelNotFound, shortened
from resift.rerank.base import BaseReranker
from resift.rerank.families.chain import Chain
from resift.rerank.families.fallback import BUNDLED
from resift.rerank.families.listwise import ListwiseReranker
from resift.rerank.families.remote import RemoteReranker
from resift.rerank.families.services.known import SERVICES
from resift.rerank.ranker import Ranker
from resift.rerank.reranker import Reranker
from resift.settings import Settings, checked_settings

LISTWISE = "llm"
_SERVICES = (LISTWISE, *SERVICES)
_MAX_SERVICE = 10  # letters of a word that may be meant as the name of a service
_NEAR = 0.8
_OWN_SERVERS = [name for name, service in SERVICES.items() if service.url is None]
_PART = re.compile(r"(.+)@(\d{1,6})")
_FORMS = (
    "services are cohere:MODEL, jina:MODEL, voyage:MODEL, tei:URL, vllm:URL#MODEL, "
    f"resift:URL, {LISTWISE}:URL#MODEL; a chain is NAME@DEPTH+NAME@DEPTH, such as "
    "bundled@100+BAAI/bge-reranker-base@20"
)


def open_ranker(
    name: str | os.PathLike[str] | None = None,
    *,
    calibration: str | os.PathLike[str] | None = None,
    fallback: Ranker | str | None = BUNDLED,
    settings: Settings | None = None,
) -> BaseReranker:
    """Open a second stage by its name; None is the settings' model, else the bundled one.

    - ``bundled``, a folder or a hub id: a local model (`Reranker`).
    - ``cohere:MODEL``, ``jina:MODEL``, ``voyage:MODEL``, ``tei:URL``, ``vllm:URL#MODEL``,
      ``resift:URL#MODEL``: a service (`RemoteReranker`); any may have ``URL#MODEL``.
    - ``llm:URL#MODEL``: a language model (`ListwiseReranker`).
    - ``NAME@DEPTH+NAME@DEPTH``, such as ``bundled@100+BAAI/bge-reranker-base@20``: a `Chain`.

    A `calibration` is for a local model. `fallback` ranks where a service fails; with None the
    error is raised. Raises `InputError`, `ModelError`, `SettingsError` and `MissingExtra`.
    """
    settings = checked_settings(settings)
    text = name if name is not None else settings.model
    if not isinstance(text, str) or not is_other_than_model(text):
        try:
            return Reranker(name, calibration=calibration, settings=settings)
        except ModelNotFound as error:
            if isinstance(text, str) and _is_nearly_other(text):
                raise ModelNotFound(f"{shortened(text)}: no such model folder; {_FORMS}") from error
            raise
    if calibration is not None:
        raise InputError(f"{shortened(text)}: a calibration is for a local model; leave it out")
    if _is_chain(text):
        return _open_chain(text, fallback, settings)
    service, _, target = text.partition(":")
    url, model = _url_and_model(target)
    if url is None and model is not None and service in _OWN_SERVERS:
        raise InputError(f"{service}: http:// is missing; expected {service}:http://HOST:PORT")
    if service == LISTWISE:
        if model is None:
            raise InputError(f"{LISTWISE}: names no model; expected {LISTWISE}:URL#MODEL")
        return ListwiseReranker(url, model, fallback=fallback, settings=settings)
    return RemoteReranker(service, model, url=url, fallback=fallback, settings=settings)


def is_other_than_model(name: str) -> bool:
    """Whether a name is that of a service, a language model or a chain, and no local model."""
    return _is_chain(name) or (name.partition(":")[0] in _SERVICES and ":" in name)


def _is_nearly_other(name: str) -> bool:
    """Whether a name that nothing has looks like a service or a chain."""
    start = name.partition(":")[0].lower()
    is_near = bool(difflib.get_close_matches(start[:_MAX_SERVICE], _SERVICES, 1, _NEAR))
    has_mark = any(mark in name for mark in "@:+")
    return has_mark or (is_near and len(start) <= _MAX_SERVICE)


def _is_chain(name: str) -> bool:
    """A chain has two parts or more, each with its depth; folders may have a + in their names."""
    parts = name.split("+")
    return len(parts) > 1 and all(_PART.fullmatch(part) for part in parts)


def _open_chain(name: str, fallback: Ranker | str | None, settings: Settings) -> Chain:
    parts = [match for part in name.split("+") if (match := _PART.fullmatch(part))]
    rankers = [open_ranker(part[1], fallback=fallback, settings=settings) for part in parts]
    try:
        return Chain(*rankers, depths=[int(part[2]) for part in parts])
    except InputError as error:  # "depths=" alone reads as an option of a command
        raise InputError(f"a chain's {error}") from None


def _url_and_model(target: str) -> tuple[str | None, str | None]:
    """``URL#MODEL`` or ``MODEL``."""
    if "://" not in target:
        return None, target or None
    url, _, model = target.partition("#")
    return url, model or None
