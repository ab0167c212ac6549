"""Queries that were hurt or helped, each with the documents that moved. Pure."""

from collections.abc import Sequence

from resift.evaluation.advice import short
from resift.evaluation.report.markup import Markup, element, join, shortened
from resift.evaluation.report.tables import signed
from resift.evaluation.result import Moved, QueryChange, SystemResult

MOST = 25  # of each kind; thousands of queries would fill a book
QUERY, TITLE = 240, 120  # characters


def changed(system: SystemResult) -> Markup:
    """Hurt most, then helped most."""
    return join(
        _listed(title, changes)
        for title, changes in (("Hurt", system.hurt()), ("Helped", system.helped()))
        if changes
    )


def _listed(title: str, changes: Sequence[QueryChange]) -> Markup:
    count = len(changes)
    head = f"{title} most: {MOST} of {count}" if count > MOST else f"{title}: {count}"
    return join([element("h4", head), *map(_change, changes[:MOST])])


def _change(change: QueryChange) -> Markup:
    delta = change.after - change.before
    summary = element(
        "summary",
        element("b", signed(delta), class_="helped" if delta > 0 else "hurt"),
        element("span", f"{short(change.before)} → {short(change.after)}", class_="change"),
        element("span", shortened(change.query, QUERY), class_="query", dir="auto"),
        element("small", shortened(change.query_id, TITLE)),
    )
    head = element("tr", *(element("th", name, scope="col") for name in
                           ("grade", "was", "now", "document")))  # fmt: skip
    documents = element("tbody", *map(_document, change.moved))
    return element("details", summary, element("table", element("thead", head), documents))


def _document(moved: Moved) -> Markup:
    named = [shortened(moved.doc_id, TITLE)]
    if moved.title:
        title = element("span", shortened(moved.title, TITLE), dir="auto")
        named = [title, " ", element("small", *named)]
    return element(
        "tr",
        element("td", "?" if moved.grade is None else str(moved.grade)),
        element("td", str(moved.was or "–")),
        element("td", str(moved.now or "–")),
        element("td", *named),
        class_="relevant" if (moved.grade or 0) > 0 else None,
    )
