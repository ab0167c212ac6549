"""Measures the demo's two stages over all judged questions, in shared batches."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from resift.types import DEPTH

if TYPE_CHECKING:
    from resift.cli.demo_questions import Question
    from resift.evaluation.measures import Evaluator
    from resift.rerank.reranker import Reranker
    from resift.search.index import Index
    from resift.types import Candidate, Hit

CUTOFF = 10
FIRST = 3  # operations in which a judged one is a success
NDCG, SUCCESS, FULL_SUCCESS = f"nDCG@{CUTOFF}", f"Success@{FIRST}", f"Success(rel=2)@{FIRST}"
MEASURES = (NDCG, SUCCESS, FULL_SUCCESS)
AT_ONCE = 17
"""Questions that are reranked together; after each of these groups the progress bar moves."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The mean of each measure before and after reranking, over `questions` of them."""

    questions: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    seconds: float


def make_evaluator(questions: Iterable["Question"]) -> "Evaluator":
    """Raises `MissingExtra` without the library that computes the measures."""
    from resift.evaluation.measures import Evaluator

    return Evaluator({question.id: dict(question.grades) for question in questions}, MEASURES)


def operation_ids(hits: Iterable["Candidate | Hit"]) -> list[str]:
    """The operations of passages, each once, at its best rank."""
    from resift.evaluation.first_stage import distinct, doc_id

    return distinct(map(doc_id, hits))


def compare(
    index: "Index",
    reranker: "Reranker",
    questions: Sequence["Question"],
    evaluator: "Evaluator",
    advance: Callable[[int], None],
) -> Comparison:
    """Search and rerank all questions at the default depth; `advance` is told how many are done."""
    from resift.evaluation.measures import means, scores_by_rank

    start = time.perf_counter()
    before: dict[str, Mapping[str, float]] = {}
    after: dict[str, Mapping[str, float]] = {}
    rest = iter(questions)
    while group := list(islice(rest, AT_ONCE)):
        lists = [
            index.retrieve(question.text, DEPTH, reranker=reranker).candidates for question in group
        ]
        rankings = reranker.rank_many([question.text for question in group], lists, CUTOFF)
        for question, candidates, ranking in zip(group, lists, rankings, strict=True):
            before[question.id] = scores_by_rank(operation_ids(candidates))
            after[question.id] = scores_by_rank(operation_ids(ranking))
        advance(len(group))
    return Comparison(
        len(questions),
        means(evaluator.per_query(before)),
        means(evaluator.per_query(after)),
        time.perf_counter() - start,
    )
