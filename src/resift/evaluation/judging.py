"""Judging by hand: what is shown next, and what each key does to it.

Knows pools and judgments, and nothing of screens. A candidate is shown while it is neither judged
nor passed over, so that what comes next follows from what is on disk: whoever stops, or is stopped,
goes on there.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from resift.errors import InputError
from resift.evaluation.judgments import Judgments
from resift.evaluation.pool import Pools
from resift.types import Document

GRADES = {
    "0-1": ("not relevant", "relevant"),
    "0-2": ("not relevant", "partly", "answers it"),
    "0-3": ("not relevant", "related", "partly answers it", "answers it"),
}
"""Scales, and what their grades mean, from 0."""

BACK, SKIP, NEXT = "b", "s", "n"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One candidate as it is laid before a judge. Numbers count from 1.

    `number` of `count` in its query's pool, `query_number` of `queries`. `taken_back` is the grade
    that it had until just now. `problems` say what the pool is missing.
    """

    query_id: str
    query: str
    document: Document
    number: int
    count: int
    query_number: int
    queries: int
    problems: tuple[str, ...] = ()
    taken_back: int | None = None


@dataclass(frozen=True, slots=True)
class _Step:
    """What a key did: judged the one, or passed over all of them."""

    at: int
    query_id: str
    doc_ids: tuple[str, ...]
    is_judged: bool


def visiting_order(query_ids: Iterable[str], judged: Iterable[str]) -> list[str]:
    """From the query where judging has stopped; those before it come round once more at the end.

    `judged` are the queries with judgments, in the order in which they were begun. What was passed
    over in earlier queries is so found again, without a search for it at the start.
    """
    order = list(query_ids)
    places = {query_id: place for place, query_id in enumerate(order)}
    begun = [places[query_id] for query_id in judged if query_id in places]
    at = begun[-1] if begun else 0
    return order[at:] + order[:at]


class Judging:
    """One run of judging. Not for several threads at once."""

    def __init__(
        self, queries: Mapping[str, str], pools: Pools, judgments: Judgments, scale: str = "0-2"
    ) -> None:
        """Over `queries`, one or more; `scale` is one of `GRADES`."""
        if scale not in GRADES:
            raise InputError(f"grades={scale!r}: expected one of {', '.join(GRADES)}")
        self.grades = GRADES[scale]
        self._queries = queries
        self._numbers = {query_id: number for number, query_id in enumerate(queries, 1)}
        self._pools = pools
        self._judgments = judgments
        self._order = visiting_order(queries, judgments.begun)
        self._at = 0
        self._passed: set[tuple[str, str]] = set()
        self._steps: list[_Step] = []
        self._taken_back: int | None = None

    @property
    def judged(self) -> int:
        """How many judgments this run has made."""
        return self._judgments.added

    def sheet(self) -> Sheet | None:
        """The next candidate, None when nothing is left. May make pools, and raise as they do."""
        while self._at < len(self._order):
            query_id = self._order[self._at]
            pool = self._pools(query_id)
            for number, document in enumerate(pool.documents, 1):
                if self._is_open(query_id, document.id):
                    return Sheet(
                        query_id,
                        self._queries[query_id],
                        document,
                        number,
                        len(pool.documents),
                        self._numbers[query_id],
                        len(self._order),
                        pool.problems,
                        self._taken_back,
                    )
            self._at += 1
        return None

    def press(self, key: str) -> None:
        """Do what a key says: a grade, ``s`` skip, ``n`` next query, ``b`` back.

        Raises `InputError` for another key and where nothing is left, and what `Judgments.add`
        raises; then nothing has changed.
        """
        if key == BACK:
            self.back()
        elif key == SKIP:
            self.skip()
        elif key == NEXT:
            self.next_query()
        elif key.isascii() and key.isdecimal():
            self.grade(int(key))
        else:
            grades = ", ".join(str(grade) for grade in range(len(self.grades)))
            raise InputError(f"key {key!r}: expected {grades}, {SKIP}, {NEXT} or {BACK}")

    def grade(self, grade: int) -> None:
        """Judge the candidate; when this returns it is on disk."""
        if not 0 <= grade < len(self.grades):
            raise InputError(f"grade {grade}: expected 0 to {len(self.grades) - 1}")
        sheet = self._needed()
        self._judgments.add(sheet.query_id, sheet.document.id, grade)
        self._done(sheet.query_id, (sheet.document.id,), is_judged=True)

    def skip(self) -> None:
        """Leave the candidate unjudged; the next run shows it again."""
        sheet = self._needed()
        self._done(sheet.query_id, (sheet.document.id,), is_judged=False)

    def next_query(self) -> None:
        """Leave all that is open of this query unjudged."""
        query_id = self._needed().query_id
        documents = self._pools(query_id).documents
        left = tuple(own.id for own in documents if self._is_open(query_id, own.id))
        self._done(query_id, left, is_judged=False)

    def back(self) -> None:
        """Take the last key back, and what it judged; at the beginning there is nothing to take."""
        if not self._steps:
            return
        step = self._steps[-1]
        taken_back = None
        if step.is_judged:
            taken_back = self._judgments.remove(step.query_id, step.doc_ids[0])
        self._steps.pop()
        self._passed -= {(step.query_id, doc_id) for doc_id in step.doc_ids}
        self._at = step.at
        self._taken_back = taken_back

    def _done(self, query_id: str, doc_ids: tuple[str, ...], *, is_judged: bool) -> None:
        self._steps.append(_Step(self._at, query_id, doc_ids, is_judged))
        if not is_judged:
            self._passed |= {(query_id, doc_id) for doc_id in doc_ids}
        self._taken_back = None

    def _is_open(self, query_id: str, doc_id: str) -> bool:
        return (query_id, doc_id) not in self._passed and not self._judgments.has(query_id, doc_id)

    def _needed(self) -> Sheet:
        sheet = self.sheet()
        if sheet is None:
            raise InputError(f"nothing is left to judge: only {BACK} goes on from here")
        return sheet
