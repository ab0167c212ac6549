"""How to fuse the two retrievers? By ranks, by scores, and with which weight.

    python benchmarks/fusion.py --choose FOLDER … --report FOLDER … [--queries 300]

Folders are BEIR folders. Each corpus is indexed as by `resift eval`, in the user's cache folder.
The weight of dense retrieval is chosen on the first collections; the others show what the choice is
worth. A row is a rule; its figures are Recall@100 and nDCG@10 of documents, each at its best
passage, among the first 100 passages. Large collections are measured on a sample of their queries.
Needs pip install 'resift[index,eval]'. Last line of stdout: JSON.
"""

import argparse
import json
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.evaluation.collection import open_collection
from resift.evaluation.first_stage import distinct, doc_id, index_corpus
from resift.evaluation.measures import PRIMARY, Evaluator, means, scores_by_rank
from resift.index.table.snapshot import Scored
from resift.search import fusion
from resift.search.index import Index
from resift.search.options import Mode
from resift.settings import Settings

DEPTH = 100
DEEPER = 3
WEIGHTS = (0.4, 0.5, 0.6, 0.7, 0.8)
RECALL = f"R@{DEPTH}"


@dataclass(frozen=True, slots=True)
class Results:
    """What both retrievers return for one query: numbers of passages, with scores."""

    query_id: str
    lexical: Scored
    dense: Scored
    spread: float
    documents: Sequence[str]

    @property
    def count(self) -> int:
        """How many passages each retriever was asked for, or has."""
        return max(len(self.lexical), len(self.dense))


Rule = Callable[[Results], Scored]


def main() -> None:
    """Measure all rules on all collections, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--choose", nargs="+", type=Path, required=True)
    parser.add_argument("--report", nargs="+", type=Path, required=True)
    parser.add_argument("--queries", type=int, default=300)
    options = parser.parse_args()
    groups = {"choose": options.choose, "report": options.report}
    measured = {
        group: [measure(folder, options.queries) for folder in folders]
        for group, folders in groups.items()
    }
    rows = {
        name: {
            group: tuple(
                round(float(np.mean([c[name][i] for c in collections])), 4) for i in (0, 1)
            )
            for group, collections in measured.items()
        }
        for name in rules()
    }
    print(f"| rule | {' | '.join(f'{g}: {RECALL}, {PRIMARY}' for g in groups)} |\n|---|--:|--:|")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(f'{r:.4f}, {n:.4f}' for r, n in row.values())} |")
    print(json.dumps(rows))


def rules() -> dict[str, Rule]:
    """The rules to compare, by name."""
    by_weight = {
        f"cosines in units of the spread, weight {weight}": by_scores(weight) for weight in WEIGHTS
    }
    return {
        "lexical": lambda results: results.lexical[:DEPTH],
        "dense": lambda results: results.dense[:DEPTH],
        f"ranks, first {DEPTH}": by_ranks(DEPTH),
        f"ranks, first {DEEPER * DEPTH}": by_ranks(DEEPER * DEPTH),
        "min-max, weight 0.5": by_units(np.ptp, 0.5),
        "standardised, weight 0.5": by_units(np.std, 0.5),
        "standardised, weight 0.6": by_units(np.std, 0.6),
        **by_weight,
    }


def by_ranks(depth: int) -> Rule:
    """Reciprocal rank fusion of the first `depth` of both."""
    return lambda results: reciprocal_rank_fusion(
        [[row for row, _ in rows[:depth]] for rows in (results.lexical, results.dense)]
    )


def reciprocal_rank_fusion(rankings: Sequence[Sequence[int]]) -> Scored:
    """The sum of ``1 / (60 + rank)``: https://doi.org/10.1145/1571941.1572114 ."""
    scores: dict[int, float] = {}
    for ranking in rankings:
        for rank, row in enumerate(ranking, start=1):
            scores[row] = scores.get(row, 0.0) + 1 / (60 + rank)
    return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))


def by_units(unit: Callable[[NDArray[np.float64]], float], weight: float) -> Rule:
    """Scores above the lowest of the list, divided by its range or its standard deviation."""

    def rule(results: Results) -> Scored:
        scores: dict[int, float] = {}
        for rows, share in ((results.lexical, 1 - weight), (results.dense, weight)):
            values = np.array([score for _, score in rows])
            for row, score in rows:
                units = (score - values.min()) / (float(unit(values)) or 1.0)
                scores[row] = scores.get(row, 0.0) + share * units
        return sorted(scores.items(), key=lambda entry: (-entry[1], entry[0]))

    return rule


def by_scores(weight: float) -> Rule:
    """The rule of `resift.search.fusion`, with another weight."""

    def rule(results: Results) -> Scored:
        fusion.DENSE_WEIGHT = weight
        return fusion.fuse(results.lexical, results.dense, results.count, results.spread)

    return rule


def measure(folder: Path, queries: int) -> dict[str, tuple[float, float]]:
    """Recall@100 and nDCG@10 of each rule on one collection."""
    collection = open_collection(folder)
    qrels, texts = collection.qrels(), collection.queries()
    index, _ = index_corpus(collection, Settings())
    judged = sorted(query_id for query_id in qrels if query_id in texts)
    if len(judged) > queries:
        judged = sorted(random.Random(0).sample(judged, queries))
    results = [retrieve(index, query_id, texts[query_id]) for query_id in judged]
    evaluator = Evaluator({query_id: qrels[query_id] for query_id in judged}, [PRIMARY, RECALL])
    figures = {}
    for name, rule in rules().items():
        run = {
            result.query_id: scores_by_rank(
                distinct(result.documents[row] for row, _ in rule(result)[:DEPTH])
            )
            for result in results
        }
        values = means(evaluator.per_query(run))
        figures[name] = (values[RECALL], values[PRIMARY])
    print(folder.name, len(judged), figures, file=sys.stderr, flush=True)
    return figures


def retrieve(index: Index, query_id: str, query: str) -> Results:
    """Ask both retrievers for three times the depth."""
    modes: tuple[Mode, Mode] = ("lexical", "dense")
    lists = [index.retrieve(query, DEEPER * DEPTH, mode).candidates for mode in modes]
    rows: dict[str, int] = {}
    documents: list[str] = []
    for candidate in (candidate for candidates in lists for candidate in candidates):
        if candidate.id not in rows:
            rows[candidate.id] = len(documents)
            documents.append(doc_id(candidate))
    lexical, dense = (
        [(rows[candidate.id], candidate.score or 0.0) for candidate in candidates]
        for candidates in lists
    )
    version = index.opened
    return Results(query_id, lexical, dense, version.vectors.spread if version else 0.0, documents)


if __name__ == "__main__":
    main()
