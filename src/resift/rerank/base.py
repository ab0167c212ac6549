"""What all rerankers of resift share: the arguments of a call, checked once, and one-time hints."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from resift.rerank.deadline import Deadline
from resift.rerank.early_exit import TOLERANCE
from resift.rerank.hints import Hints
from resift.rerank.options import RankOptions, checked_budget
from resift.types import DocumentLike, LongDocuments, Ranking


class BaseReranker(ABC):
    """A local model, a service, a language model or a chain: each has these methods.

    Threads may share it. ``with … as reranker`` closes it.
    """

    def __init__(self) -> None:
        self._hints = Hints()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name, for people."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """What identifies everything that decides a logit, as far as it can be known."""

    @abstractmethod
    def close(self) -> None:
        """Release what it holds. Closing twice does nothing."""

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
        """Order documents by relevance, and return all or the best `top_n`.

        With `top_n`, a model with early exits stops scoring candidates that cannot reach the first
        `top_n` any more (`Receipt.pruned`). Without, every candidate runs through the whole model.

        Args:
            query: The search query. It is never cut.
            documents: Strings, `Document`, `Candidate`, `Hit` or mappings with ``text``. A document
                that cannot be read becomes a hit with a `status` and raises no error. Under a
                budget, at most ten thousand documents are read from an iterable without a length.
            top_n: How many hits to return; None is all.
            budget_ms: Milliseconds for the whole call, from reading the documents to the result.
                Candidates that were not scored in time follow behind the rest in first-stage order,
                and the receipt is `partial`. None and infinity mean no limit; with 0 only cached
                scores are used.
            exact: True switches early exits off.
            tolerance: The probability, above 0 and up to 0.5, in each direction, that a logit
                changes more after an early exit than the exit assumes. Lower is safer and slower.
            fusion_weight: Weight of the first stage. The order is by ``logit + fusion_weight ×
                standardised first-stage score``, plus pseudo-relevance feedback if the model has it
                (`Hit.feedback`). None is the weight fitted for the model; 0 leaves both out.
                First-stage scores are used only if all readable documents have one.
            min_score: Leave out hits with a lower score (0 to 1) and unreadable documents.
                Candidates that were not scored in time stay.
            abstain_below: `Ranking.abstained` is True if all candidates were scored and the best
                score (0 to 1) is lower. Scores are probabilities only with a calibration
                (`Receipt.calibration`).
            long_documents: "cut" reads the beginning of a document that is longer than the model
                reads beside the query; "windows" reads parts of it (`LongDocuments`).

        Raises:
            QueryError: The query is empty, not text, or longer than the model reads.
            InputError: An argument is out of range, or none of the items is a document.
            Overloaded: Too much work is waiting.
            RerankerClosed: After `close`.

        """
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
        ranking = self._rank(query, documents, options, deadline)
        self._hints.give(ranking.receipt, options, of_depth=True)
        return ranking

    async def arank(
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
        """`rank` without blocking the event loop; cancelling the task stops its work.

        Also raises `Overloaded` if there are too many open calls to answer this one in time. One
        thread reads the documents of all calls: a slow iterable delays other calls, so pass a list.
        """
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
        ranking = await self._arank(query, documents, options, deadline)
        self._hints.give(ranking.receipt, options)
        return ranking

    def rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[DocumentLike]],
        top_n: int | None = None,
        *,
        budget_ms: float | None = None,
        exact: bool = False,
        tolerance: float = TOLERANCE,
        fusion_weight: float | None = None,
        min_score: float | None = None,
        abstain_below: float | None = None,
        long_documents: LongDocuments = "cut",
    ) -> list[Ranking]:
        """A ranking for each query, in order: `rank` with batches across queries.

        ``documents[i]`` are the documents of ``queries[i]``. Scores are the same as with `rank`.
        Documents of different queries share batches, so short lists need fewer. `budget_ms` is for
        all queries together; a call reads at most a thousand documents after it, in all, and looks
        up their scores in the cache. The other arguments are as in `rank`.

        Raises the errors of `rank`, with the index in the message: for queries before anything
        runs, for documents when they are read. Raises `InputError` unless there is one list per
        query.
        """
        options = RankOptions(
            top_n, fusion_weight, exact, tolerance, min_score, abstain_below, long_documents
        )
        deadline = Deadline(checked_budget(budget_ms))
        rankings = self._rank_many(queries, documents, options, deadline)
        for ranking in rankings:
            self._hints.give(ranking.receipt, options)
        return rankings

    @abstractmethod
    def _rank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking:
        """`rank`, without the hints."""

    @abstractmethod
    async def _arank(
        self,
        query: str,
        documents: Iterable[DocumentLike],
        options: RankOptions,
        deadline: Deadline,
    ) -> Ranking:
        """`arank`, without the hints."""

    @abstractmethod
    def _rank_many(
        self,
        queries: Iterable[str],
        documents: Iterable[Iterable[DocumentLike]],
        options: RankOptions,
        deadline: Deadline,
    ) -> list[Ranking]:
        """`rank_many`, without the hints."""
