"""Passages → documents: of each document its best passage. Pure."""

from dataclasses import replace

from resift.types import Hit, Ranking


def collapsed(ranking: Ranking, top_n: int, depth: int) -> Ranking:
    """The best hit of each of the first `top_n` documents; the receipt counts the others.

    Hits are of one document if they cite the same object and document. A hit without a citation is
    a document. The first stage was asked for `depth` candidates: if it had fewer, there are no
    others.
    """
    first: dict[object, Hit] = {}
    for hit in ranking:
        cited = hit.citation
        first.setdefault(hit.rank if cited is None else (cited.uri, cited.doc_id), hit)
    number = len(ranking)
    notes = ranking.receipt.notes
    if len(first) < min(top_n, number) and ranking.receipt.depth >= depth:
        documents = "1 document" if len(first) == 1 else f"{len(first)} documents"
        notes = (*notes, f"the {number} hits are of {documents}: a larger depth may have more")
    hits = [replace(hit, rank=rank) for rank, hit in enumerate(first.values(), start=1)]
    receipt = replace(ranking.receipt, collapsed=number - len(first), notes=notes)
    return replace(ranking, hits=tuple(hits[:top_n]), receipt=receipt)
