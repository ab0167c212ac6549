"""The order of one call's candidates, reranker by reranker, and the receipt of all. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from resift.errors import InputError
from resift.rerank.candidates import first_rank
from resift.rerank.deadline import Deadline
from resift.rerank.first_stage import first_stage_ranking
from resift.rerank.options import RankOptions
from resift.types import Candidate, Comparison, Explainer, Explanation, Hit, Ranking, Receipt


class ChainOrder:
    """The candidates of a call in their present order.

    `enter` takes the first so many for the next reranker; `apply` puts them into its order.
    """

    def __init__(
        self,
        query: str,
        candidates: Sequence[Candidate],
        options: RankOptions,
        deadline: Deadline,
    ) -> None:
        self._query = query
        self._candidates = candidates
        self._options = options
        self._deadline = deadline
        self._hits: list[Hit] = list(first_stage_ranking(query, candidates, len(candidates)))
        self._behind: list[Hit] = []
        self._explainers: dict[int, Explainer | None] = {}
        self._receipts: list[Receipt] = []
        self._reasons: list[str] = []
        self._is_partial = False
        self._is_read_by_last = False

    def enter(self, depth: int) -> None:
        """Let the first `depth` go on; the others rank behind from now on."""
        self._behind = [*self._hits[depth:], *self._behind]
        self._hits = self._hits[:depth]

    def wanted(self, following: int | None) -> int | None:
        """How many hits the next reranker has to return: None if the caller gets all.

        Then it may stop early for candidates that do not go on.
        """
        top_n = self._options.top_n
        return None if top_n is None or following is None else max(top_n, following)

    def candidates(self) -> list[Candidate]:
        """The candidates that go on, best first; their ranks are those so far."""
        entering = [self._candidates[hit.index] for hit in self._hits]
        if not self._receipts:
            return entering
        return [replace(item, rank=rank) for rank, item in enumerate(entering, start=1)]

    def note_outage(self, reason: str) -> None:
        """The next reranker failed: the order stays."""
        self._is_partial = True
        self._reasons.append(reason)

    def apply(self, ranking: Ranking, name: str, *, is_last: bool) -> None:
        """Take over the order of the next reranker.

        If it did not score all for lack of time, those that it scored exchange their positions, and
        the others stay where they are.
        """
        receipt = ranking.receipt
        entered = self._hits
        hits = [self._restored(hit, entered[hit.index]) for hit in ranking]
        if receipt.partial:
            self._is_partial = True
            reason = (receipt.reason or "partial").removeprefix(f"{name}: ")
            self._reasons.append(f"{name}: {reason}")
            is_filtered = is_last and self._options.min_score is not None
            hits = _exchanged(entered, hits, keep_missing=not is_filtered)
        scored = {hit.index for hit in ranking if hit.logit is not None}
        for position in scored:
            self._explainers[entered[position].index] = ranking.explainer
        self._hits = hits
        self._receipts.append(receipt)
        self._is_read_by_last = is_last

    def _restored(self, hit: Hit, before: Hit) -> Hit:
        """A reranker's hit with the index, rank and score that the caller's candidate has."""
        candidate = self._candidates[before.index]
        return replace(
            hit,
            index=before.index,
            first_stage_rank=first_rank(before.index, candidate),
            first_stage_score=before.first_stage_score,
        )

    def ranking(self, name: str, fingerprint: str) -> Ranking:
        """The hits in order, with one receipt of all rerankers."""
        hits = self._hits
        if self._options.min_score is None or not self._is_read_by_last:
            hits = [*hits, *self._behind]
        hits = [
            replace(hit, rank=rank) for rank, hit in enumerate(hits[: self._options.top_n], start=1)
        ]
        return Ranking.of(
            self._query,
            hits,
            self._receipt(name, fingerprint),
            ChainExplainer(self._explainers),
        )

    def _receipt(self, name: str, fingerprint: str) -> Receipt:
        """The first reranker's counts, since it read most, with all times and reasons."""
        receipts = self._receipts
        if not receipts:
            nothing = first_stage_ranking(self._query, self._candidates, 1, "").receipt
            return replace(nothing, reason="; ".join(self._reasons), model=name)
        first, last = receipts[0], receipts[-1]
        return replace(
            first,
            model=name,
            fingerprint=fingerprint,
            runtime=" > ".join(dict.fromkeys(receipt.runtime for receipt in receipts)),
            depth=len(self._candidates),
            partial=self._is_partial,
            reason="; ".join(self._reasons) or None,
            timings_ms=_added_timings(receipts),
            tokens=sum(receipt.tokens for receipt in receipts),
            fusion_weight=last.fusion_weight,
            feedback_weight=last.feedback_weight,
            first_stage_left_out=last.first_stage_left_out,
            calibration=last.calibration,
            below_min_score=last.below_min_score,
            abstained=last.abstained and self._is_read_by_last and not self._is_partial,
            notes=tuple(dict.fromkeys(note for receipt in receipts for note in receipt.notes)),
            receipts=tuple(receipts),
        )


def _exchanged(before: Sequence[Hit], ranked: Sequence[Hit], *, keep_missing: bool) -> list[Hit]:
    """`before` with the scored ones of `ranked` in their new order, at the positions they had.

    Hits of `ranked` without a logit stay as they were. Those that `ranked` lacks stay too, unless
    they were left out (`keep_missing` False).
    """
    scored = [hit for hit in ranked if hit.logit is not None]
    moving = {hit.index for hit in scored}
    present = {hit.index for hit in ranked}
    following = iter(scored)
    return [
        next(following) if hit.index in moving else hit
        for hit in before
        if keep_missing or hit.index in present
    ]


def _added_timings(receipts: Sequence[Receipt]) -> dict[str, float]:
    """Milliseconds by stage, added up over the rerankers."""
    timings: dict[str, float] = {}
    for receipt in receipts:
        for stage, took_ms in receipt.timings_ms.items():
            timings[stage] = timings.get(stage, 0.0) + took_ms
    return timings


class ChainExplainer:
    """Explains each hit by the reranker that scored it last."""

    def __init__(self, explainers: dict[int, Explainer | None]) -> None:
        self._explainers = explainers

    def explain(self, query: str, document: Hit) -> Explanation:
        explainer = self._explainers.get(document.index)
        if explainer is None:
            raise InputError(f"hit {document.rank}: no reranker that can explain it has scored it")
        return explainer.explain(query, document)

    def compare(self, query: str, first: Hit, second: Hit) -> Comparison:
        explainer = self._explainers.get(first.index)
        if explainer is None or explainer is not self._explainers.get(second.index):
            raise InputError(
                f"hits {first.rank} and {second.rank}: different rerankers scored them; "
                "explain each"
            )
        return explainer.compare(query, first, second)
