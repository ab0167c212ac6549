"""What is to be measured: queries with judgments, and what is missing of either."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from resift.errors import DatasetError
from resift.evaluation.measures import Qrels
from resift.evaluation.qrels import read_all_qrels, read_qrels
from resift.evaluation.queries import read_queries


@dataclass(frozen=True, slots=True)
class Task:
    """Queries by id, and the grades of their judged documents: none at all, or some for each."""

    name: str
    queries: Mapping[str, str]
    qrels: Qrels
    notes: tuple[str, ...] = ()


def make_task(path: Path, qrels_file: Path | None, relevant: int, most: int | None) -> Task:
    """The judged queries of a BEIR folder or a file; all of them where none is judged.

    `most` are taken, spread evenly; `relevant` is the least grade that counts. Judgments are in
    `qrels_file`, or those beside the queries, published and added by hand. Raises `DatasetError`
    where the two have nothing to do with each other, or a file says what cannot be.
    """
    queries, notes = _asked(read_queries(path))
    if qrels_file is not None:
        qrels, files = read_qrels(qrels_file), [qrels_file]
    else:
        qrels, files = read_all_qrels(path if os.path.isdir(path) else path.parent)
    if not qrels:
        note = (
            "no judgments: whether reranking helps cannot be said; make some with "
            f"  resift judge {path}"
        )
        return Task(path.name, _spread(queries, most), {}, (note, *notes))
    judged = {query_id: queries[query_id] for query_id in queries if query_id in qrels}
    if not judged:
        raise DatasetError(
            f"{', '.join(map(str, files))}: none of its {len(qrels)} queries is in {path}, the "
            f"first is {min(qrels):.80}; are the judgments of this collection?"
        )
    chosen = _spread(judged, most)
    own = {query_id: qrels[query_id] for query_id in chosen}
    return Task(path.name, chosen, own, (*notes, *_gaps(queries, qrels, own, relevant)))


def _asked(queries: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Queries that can be asked, and a sentence about those that cannot."""
    asked = {query_id: text for query_id, text in queries.items() if text.strip()}
    empty = [query_id for query_id in queries if query_id not in asked]
    if not empty:
        return asked, []
    return asked, [f"{len(empty)} queries have no text, the first is {empty[0]:.80}: left out"]


def _spread(queries: Mapping[str, str], most: int | None) -> dict[str, str]:
    """Every so many-th, so that a part stands for the whole whatever its order."""
    ids = list(queries)
    if most is not None and most < len(ids):
        ids = [ids[place * len(ids) // most] for place in range(most)]
    return {query_id: queries[query_id] for query_id in ids}


def _gaps(queries: Mapping[str, str], qrels: Qrels, own: Qrels, relevant: int) -> list[str]:
    unknown = [query_id for query_id in qrels if query_id not in queries]
    answerless = [query_id for query_id, grades in own.items() if max(grades.values()) < relevant]
    found = []
    if unknown:
        found.append(
            f"{len(unknown)} of {len(qrels)} judged queries are not among the queries, the first "
            f"is {unknown[0]:.80}: left out"
        )
    if answerless:
        found.append(
            f"{len(answerless)} of {len(own)} queries have no document of grade {relevant} or "
            f"more, the first is {answerless[0]:.80}: all measures but nDCG count them as 0"
        )
    return found
