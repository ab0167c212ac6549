"""The run of a teacher → pairs to train on: its logits tell which documents are relevant.

Only what the teacher is sure of is used, as in RocketQA (Qu et al. 2021,
https://arxiv.org/abs/2010.08191): a positive has a probability of 0.9 or more, a negative of 0.1 or
less, and documents between are left out, because many of them are relevant but not judged.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resift.errors import DatasetError
from resift.evaluation.collection import open_collection
from resift.evaluation.trec import read_run
from resift.types import Document

SURE = 0.9
"""Probability from which a document is relevant; one minus it is the limit of irrelevant ones."""

_LOGIT = math.log(SURE / (1 - SURE))


@dataclass(frozen=True, slots=True)
class TeacherRun:
    """A TREC run over a BEIR folder, whose scores are logits of a teacher."""

    collection: Path
    run: Path

    def __str__(self) -> str:
        return str(self.run)

    @property
    def stem(self) -> str:
        """The name of the data."""
        return self.run.stem

    def pairs(self) -> tuple[list[dict[str, Any]], list[str]]:
        """Rows of a query, a relevant text and the irrelevant ones, and notes.

        A query needs both: one that was not reranked has no logits, but scores of the first stage,
        which are mostly on one side. Raises `DatasetError` if a file cannot be read, and for a run
        without any pair.
        """
        collection, run = open_collection(self.collection), read_run(self.run)
        queries = collection.queries()
        doc_ids = {entry.doc_id for entries in run.values() for entry in entries}
        corpus = collection.read_documents(doc_ids)
        texts = full_texts(corpus.by_id)
        rows: list[dict[str, Any]] = []
        left_out = 0
        for query_id, entries in run.items():
            query = queries.get(query_id, "")
            known = [entry for entry in entries if entry.doc_id in texts]
            positives = [texts[entry.doc_id] for entry in known if entry.score >= _LOGIT]
            negatives = [texts[entry.doc_id] for entry in known if entry.score <= -_LOGIT]
            if not (query.strip() and positives and negatives):
                left_out += 1
                continue
            rows += [
                {"query": query, "positive": text, "negatives": negatives} for text in positives
            ]
        if not rows:
            raise DatasetError(
                f"{self.run}: no query has a document of score {_LOGIT:.1f} or more and one of "
                f"{-_LOGIT:.1f} or less; expected logits: rerank with --fusion-weight 0"
            )
        notes = [*corpus.notes]
        if left_out:
            notes.append(
                f"{left_out} of {len(run)} queries left out: the teacher is sure of no relevant "
                "document, or of no irrelevant one"
            )
        return rows, notes


def full_texts(documents: Mapping[str, Document]) -> dict[str, str]:
    """The texts of documents with their titles, by id; those without text are left out."""
    texts = {
        doc_id: f"{document.title}\n{document.text}" if document.title else document.text
        for doc_id, document in documents.items()
    }
    return {doc_id: text for doc_id, text in texts.items() if text.strip()}
