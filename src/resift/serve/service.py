"""Ranking and searching by name: what the HTTP dialects, the tools for agents and the CLI ask.

Knows no HTTP. Models and indexes are opened once and shared by all calls.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

from resift.background import Background
from resift.errors import Overloaded, ResiftError, shortened
from resift.rerank.candidates import check_query
from resift.rerank.deadline import Deadline
from resift.rerank.reranker import Reranker
from resift.search.index import Index
from resift.serve.admission import Admission, estimated_tokens
from resift.serve.lengths import Lengths
from resift.serve.names import last_part, named
from resift.serve.problems import UnknownIndex, UnknownModel
from resift.settings import Settings
from resift.types import DEPTH, Candidate, DocumentLike, Explanation, Ranking, Receipt

BUNDLED = "bundled"

RENEW_S = 5.0
"""How often a server looks for a newer version of its indexes."""

SEARCH_TOKENS = 150
"""Estimated tokens of one candidate of a search, whose text is not known yet."""

Observe = Callable[[str, Receipt], None]

_log = logging.getLogger("resift")


@dataclass(eq=False)
class Service:
    """Models and indexes by name; the first of each is the default.

    `observe` gets "rank" or "search" and the receipt of each ranking. Raises `UnknownModel` and
    `UnknownIndex` for names that are not there, `Overloaded` for work that would wait too long,
    `TooLong`, and what `Reranker.rank` and `Index.search` raise.
    """

    models: Mapping[str, Reranker]
    indexes: Mapping[str, Index]
    admission: Admission
    observe: Observe = lambda operation, receipt: None
    _background: Background = field(default_factory=lambda: Background(8, "resift-service"))

    @classmethod
    def open(
        cls,
        models: Sequence[str] = (),
        indexes: Sequence[str] = (),
        settings: Settings | None = None,
        admission: Admission | None = None,
    ) -> Self:
        """Load models and name indexes, each ``NAME`` or ``ALIAS=NAME``; reads no index yet.

        Without models, the one of the settings. Indexes use the first model. Raises `InputError`
        for a name that is given twice, and what `Reranker` and `Index` raise.
        """
        settings = settings or Settings.load()
        by_alias = named("model", models or [settings.model or BUNDLED], lambda model: model)
        rerankers = {
            alias: Reranker(None if model == BUNDLED else model, settings=_for(model, settings))
            for alias, model in by_alias.items()
        }
        first = next(iter(rerankers.values()))
        opened = {
            alias: Index(uri, settings=settings, reranker=first)
            for alias, uri in named("index", indexes, last_part).items()
        }
        return cls(rerankers, opened, admission or Admission())

    @staticmethod
    def check(models: Sequence[str], indexes: Sequence[str]) -> None:
        """Raise `InputError` for names that `open` would refuse; loads nothing."""
        named("model", models, lambda model: model)
        named("index", indexes, last_part)

    def close(self) -> None:
        """Release all models and indexes."""
        for index in self.indexes.values():
            index.close()
        for reranker in self.models.values():
            reranker.close()

    def reranker(self, name: str | None = None) -> Reranker:
        """The model with this name; None is the default one."""
        reranker: Reranker | None = _get(self.models, name)
        if reranker is None:
            raise UnknownModel(f"model={_shown(name)}: this server has {_list(self.models)}")
        return reranker

    def model_name(self, name: str | None = None) -> str:
        """The name under which the server has the model that `reranker` would return."""
        self.reranker(name)
        return name if name is not None else next(iter(self.models))

    def index(self, name: str | None = None) -> Index:
        """The index with this name; None is the default one."""
        index: Index | None = _get(self.indexes, name)
        if index is None:
            raise UnknownIndex(
                f"index={_shown(name)}: this server has {_list(self.indexes) or 'no index'}"
            )
        return index

    async def rank(
        self,
        query: str,
        documents: Sequence[DocumentLike],
        *,
        model: str | None = None,
        budget_ms: float | None = None,
        **options: Any,
    ) -> Ranking:
        """`Reranker.arank` with a model by name, once it is admitted.

        Of documents that are strings, `max_tokens_per_doc` keeps the beginning. Without `truncate`,
        a string that is longer than the model reads raises `TooLong`, and nothing is ranked.
        """
        reranker = self.reranker(model)
        tokens = estimated_tokens(query, map(_text, documents))
        with self.admission.admit(tokens, budget_ms) as admitted:
            ranking = await self._rank(reranker, query, documents, budget_ms, **options)
            admitted.note(ranking.receipt)
        return ranking

    async def rank_each(
        self,
        queries: Sequence[str],
        documents: Sequence[Sequence[DocumentLike]],
        *,
        model: str | None = None,
        budget_ms: float | None = None,
        max_tokens_per_doc: Sequence[int | None] | None = None,
        **options: Any,
    ) -> list[Ranking]:
        """`rank` of the documents of each query, at the same time and admitted as one call.

        `max_tokens_per_doc` has a number for each query.
        """
        reranker = self.reranker(model)
        limits = max_tokens_per_doc or [None] * len(queries)
        lists = list(zip(queries, documents, limits, strict=True))
        tokens = sum(estimated_tokens(query, map(_text, texts)) for query, texts, _ in lists)
        with self.admission.admit(tokens, budget_ms) as admitted:
            tasks = [
                asyncio.ensure_future(
                    self._rank(
                        reranker, query, texts, budget_ms, max_tokens_per_doc=limit, **options
                    )
                )
                for query, texts, limit in lists
            ]
            try:
                rankings = await asyncio.gather(*tasks)
            finally:
                for task in tasks:
                    task.cancel()
            admitted.note(*(ranking.receipt for ranking in rankings))
        return rankings

    async def _rank(
        self,
        reranker: Reranker,
        query: str,
        documents: Sequence[DocumentLike],
        budget_ms: float | None,
        *,
        max_tokens_per_doc: int | None = None,
        truncate: bool = True,
        **options: Any,
    ) -> Ranking:
        deadline = Deadline(budget_ms)
        lengths = Lengths(reranker, self._background, deadline)
        windows = options.get("long_documents") == "windows"
        if max_tokens_per_doc and (windows or max_tokens_per_doc < reranker.max_tokens):
            documents = await lengths.cut(documents, max_tokens_per_doc)
        if not truncate:
            await lengths.check(query, documents)
        remaining_s = deadline.remaining_s
        budget_ms = None if remaining_s is None else remaining_s * 1000
        ranking = await reranker.arank(query, documents, budget_ms=budget_ms, **options)
        self.observe("rank", ranking.receipt)
        return ranking

    async def search(
        self,
        query: str,
        *,
        index: str | None = None,
        budget_ms: float | None = None,
        on_first_stage: Callable[[Ranking], Awaitable[None]] | None = None,
        **options: Any,
    ) -> Ranking:
        """`Index.asearch` with an index by name, once it is admitted.

        If there is no room for reranking, the order of the first stage is the result, and its
        receipt says so. `on_first_stage` is awaited with that order before reranking begins.
        """
        opened = self.index(index)
        reranks = options.get("rerank", True)
        tokens = SEARCH_TOKENS * max(int(options.get("depth", DEPTH)), 1)
        try:
            with self.admission.admit(tokens if reranks else SEARCH_TOKENS, budget_ms) as admitted:
                ranking = await opened.asearch(
                    query, budget_ms=budget_ms, on_first_stage=on_first_stage, **options
                )
                admitted.note(ranking.receipt)
        except Overloaded as refusal:
            if not reranks:
                raise
            ranking = await self._without_reranking(opened, query, budget_ms, options, refusal)
        self.observe("search", ranking.receipt)
        return ranking

    async def _without_reranking(
        self,
        index: Index,
        query: str,
        budget_ms: float | None,
        options: Mapping[str, Any],
        refusal: Overloaded,
    ) -> Ranking:
        """The first stage alone, which costs little, if that is admitted."""
        names = ("top_n", "depth", "mode", "where", "max_requests", "collapse")
        given = {name: value for name, value in options.items() if name in names}
        with self.admission.admit(SEARCH_TOKENS, budget_ms):
            ranking = await index.asearch(query, rerank=False, budget_ms=budget_ms, **given)
        reasons = [ranking.receipt.reason, f"the reranker is overloaded: {refusal}"]
        reason = "; ".join(reason for reason in reasons if reason)
        return replace(ranking, receipt=replace(ranking.receipt, partial=True, reason=reason))

    async def explain(
        self, query: str, document: DocumentLike, model: str | None = None
    ) -> Explanation:
        """`Reranker.explain` with a model by name, in the background."""
        reranker = self.reranker(model)
        query = check_query(query)
        tokens = 10 * estimated_tokens(query, [_text(document)])
        with self.admission.admit(tokens):
            job = self._background.run(lambda: reranker.explain(query, document))
            return await asyncio.wrap_future(job)

    async def passage(
        self, passage_id: str, index: str | None = None, *, before: int = 0, after: int = 0
    ) -> Candidate | None:
        """`Index.passage` of the newest version; None if there is none with this id."""
        opened = self.index(index)
        job = self._background.run(lambda: opened.passage(passage_id, before, after))
        return await asyncio.wrap_future(job)

    async def open_indexes(self) -> None:
        """Open the newest version of every index and load its embedder.

        An index that cannot be opened now is tried again by the next `renew`.
        """
        for name, index in self.indexes.items():
            try:
                await self._in_background(index.open)
            except ResiftError as error:
                _log.warning("index %s cannot be opened yet: %s", name, error)

    async def renew(self) -> None:
        """Take up newer versions of the indexes; searches read the old one until then."""
        for name, index in self.indexes.items():
            try:
                await self._in_background(index.renew)
            except ResiftError as error:
                _log.warning("index %s: no newer version can be read: %s", name, error)

    async def keep_renewed(self, every_s: float = RENEW_S) -> None:
        """Call `renew` again and again until cancelled."""
        while True:
            await asyncio.sleep(every_s)
            await self.renew()

    @property
    def not_ready(self) -> list[str]:
        """The names of indexes that are not open."""
        return [name for name, index in self.indexes.items() if index.opened is None]

    async def _in_background(self, work: Callable[[], Any]) -> Any:
        return await asyncio.wrap_future(self._background.run(work))


def _for(model: str, settings: Settings) -> Settings:
    """The settings for a model; a calibration belongs to the model of the settings alone."""
    default = settings.model or BUNDLED
    return settings if model == default else replace(settings, calibration=None, model=None)


def _get(named: Mapping[str, Any], name: str | None) -> Any:
    if name is None:
        return next(iter(named.values()), None)
    return named.get(name)


def _text(document: DocumentLike) -> object:
    if isinstance(document, Mapping):
        return document.get("text")
    return document if isinstance(document, str) else getattr(document, "text", None)


def _shown(name: str | None) -> str:
    return "None" if name is None else shortened(name)


def _list(names: Iterable[str]) -> str:
    return ", ".join(names)
