"""The name of a second stage → the second stage: a model, a service, a language model, a chain."""

import os
import re
from collections.abc import Iterable
from typing import Protocol

from resift.errors import InputError, shortened
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.families.chain import Chain
from resift.rerank.families.fallback import BUNDLED
from resift.rerank.families.listwise import ListwiseReranker
from resift.rerank.families.remote import SERVICES, RemoteReranker
from resift.rerank.ranker import Ranker
from resift.rerank.reranker import Reranker
from resift.settings import Settings
from resift.types import DocumentLike, LongDocuments, Ranking

LISTWISE = "llm"
_PART = re.compile(r"(.+)@(\d{1,6})")


class NamedRanker(Protocol):
    """A `Ranker` with all the arguments of `Reranker.rank`, that says what it is."""

    @property
    def name(self) -> str:
        """Its name, for people."""

    @property
    def fingerprint(self) -> str:
        """What identifies everything that decides a logit, as far as it can be known."""

    def rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
    ) -> Ranking:
        """`Reranker.rank`."""

    def close(self) -> None:
        """Release what it holds."""


def open_ranker(
    name: str | os.PathLike[str] | None = None,
    *,
    calibration: str | os.PathLike[str] | None = None,
    fallback: Ranker | str | None = BUNDLED,
    settings: Settings | None = None,
) -> NamedRanker:
    """Open a second stage by its name; None is the settings' model, else the bundled one.

    - ``bundled``, a folder or a hub id: a local model (`Reranker`).
    - ``cohere:MODEL``, ``jina:MODEL``, ``voyage:MODEL``, ``tei:URL``, ``vllm:URL#MODEL``,
      ``resift:URL#MODEL``: a service (`RemoteReranker`); any may have ``URL#MODEL``.
    - ``llm:URL#MODEL``: a language model (`ListwiseReranker`).
    - ``NAME@DEPTH+NAME@DEPTH``, such as ``bundled@100+BAAI/bge-reranker-base@20``: a `Chain`.

    A `calibration` is for a local model. `fallback` ranks where a service fails; with None the
    error is raised. Raises `InputError`, `ModelError`, `SettingsError` and `MissingExtra`.
    """
    settings = settings or Settings.load()
    text = name if name is not None else settings.model
    if not isinstance(text, str) or not is_other_than_model(text):
        return Reranker(name, calibration=calibration, settings=settings)
    if calibration is not None:
        raise InputError(f"{shortened(text)}: a calibration is for a local model; leave it out")
    if _is_chain(text):
        return _open_chain(text, fallback, settings)
    service, _, target = text.partition(":")
    url, model = _url_and_model(target)
    if service == LISTWISE:
        return ListwiseReranker(url, model, fallback=fallback, settings=settings)
    return RemoteReranker(service, model, url=url, fallback=fallback, settings=settings)


def is_other_than_model(name: str) -> bool:
    """Whether a name is that of a service, a language model or a chain, and no local model."""
    return _is_chain(name) or (name.partition(":")[0] in (LISTWISE, *SERVICES) and ":" in name)


def _is_chain(name: str) -> bool:
    """A chain has two parts or more, each with its depth; folders may have a + in their names."""
    parts = name.split("+")
    return len(parts) > 1 and all(_PART.fullmatch(part) for part in parts)


def _open_chain(name: str, fallback: Ranker | str | None, settings: Settings) -> Chain:
    parts = [match for part in name.split("+") if (match := _PART.fullmatch(part))]
    rankers = [open_ranker(part[1], fallback=fallback, settings=settings) for part in parts]
    return Chain(*rankers, depths=[int(part[2]) for part in parts])


def _url_and_model(target: str) -> tuple[str | None, str | None]:
    """``URL#MODEL`` or ``MODEL``."""
    if "://" not in target:
        return None, target or None
    url, _, model = target.partition("#")
    return url, model or None
