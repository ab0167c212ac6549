"""A ranker without a model and an index of a few documents, for the adapters of frameworks."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from index.fakes import HashingEmbedder
from resift.search.index import Index
from resift.settings import Settings
from resift.types import Candidate, Ranking
from search.hits import hit, ranked
from search.stand_ins import Backwards

PETS = ("cat", "dog", "bird", "fish", "horse")


class Reversing:
    """A ranker with the two required arguments only; records its calls."""

    name = "reversing"

    def __init__(self) -> None:
        self.calls: list[tuple[str, list[Candidate], int | None, float | None]] = []

    def rank(
        self,
        query: str,
        documents: Sequence[Candidate],
        *,
        top_n: int | None = None,
        budget_ms: float | None = None,
    ) -> Ranking:
        self.calls.append((query, list(documents), top_n, budget_ms))
        hits = [hit(document.text, id=document.id) for document in documents]
        ranking = ranked(*hits, query=query)
        order = [
            replace(row, rank=rank) for rank, row in enumerate(reversed(ranking.hits), start=1)
        ]
        return replace(ranking, hits=tuple(order[:top_n]))


def pets_index(folder: Path) -> Index:
    """An index of five passages with metadata; its reranker reverses the first stage."""
    documents = folder / "documents"
    documents.mkdir()
    for pet in PETS:
        text = f"---\ntitle: The {pet}\nkeeper: Ada\n---\n# About\n\nThe {pet} is an animal."
        (documents / f"{pet}.md").write_text(text)
    index = Index(
        str(folder / "index"),
        settings=Settings(),
        embedder=HashingEmbedder(),
        reranker=Backwards(),
    )
    index.sync(str(documents))
    return index
