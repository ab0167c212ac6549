"""Judging by hand: the item to judge next, and the effect of each key.

An item is open until it is judged or skipped. The judgment file alone decides which items are
open, so a new session continues where the last one stopped.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from resift.errors import InputError
from resift.evaluation.judgments import Judgments
from resift.evaluation.pool import MakePool
from resift.types import Document

GRADES = {
    "0-1": ("not relevant", "relevant"),
    "0-2": ("not relevant", "partly", "answers it"),
    "0-3": ("not relevant", "related", "partly answers it", "answers it"),
}
"""Scales, with the meaning of each grade from 0."""

BACK, SKIP, NEXT, QUIT = "b", "s", "n", "q"
"""Keys; the user interface handles `QUIT`."""


@dataclass(frozen=True, slots=True)
class JudgingItem:
    """A candidate to judge: `number` of `count` in its pool, query `query_number` of `queries`.

    Numbers count from 1. `taken_back` is the grade that was just undone; `problems` are the pool's.
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
class _Action:
    """The effect of a key, to undo it: one document judged, or several skipped."""

    position: int
    query_id: str
    doc_ids: tuple[str, ...]
    is_judged: bool


def query_order(query_ids: Iterable[str], judged: Iterable[str]) -> list[str]:
    """Order queries from the last of the `judged` ones on; those before it follow at the end.

    `judged` are queries with judgments, in the order of their first judgment. So a session starts
    where the last one stopped, and skipped items of earlier queries come last.
    """
    order = list(query_ids)
    indices = {query_id: index for index, query_id in enumerate(order)}
    started = [indices[query_id] for query_id in judged if query_id in indices]
    first = started[-1] if started else 0
    return order[first:] + order[:first]


class JudgingSession:
    """One session of judging. Not thread-safe."""

    def __init__(
        self, queries: Mapping[str, str], pools: MakePool, judgments: Judgments, scale: str = "0-2"
    ) -> None:
        """Start a session with at least one query; `scale` is a key of `GRADES`."""
        if scale not in GRADES:
            raise InputError(f"grades={scale!r}: expected one of {', '.join(GRADES)}")
        self.grades = GRADES[scale]
        self._queries = queries
        self._numbers = {query_id: number for number, query_id in enumerate(queries, 1)}
        self._pools = pools
        self._judgments = judgments
        self._order = query_order(queries, judgments.started)
        self._position = 0
        self._skipped: set[tuple[str, str]] = set()
        self._actions: list[_Action] = []
        self._taken_back: int | None = None

    @property
    def judged(self) -> int:
        """How many judgments this session has made."""
        return self._judgments.added

    def current(self) -> JudgingItem | None:
        """The next item, or None at the end. May make pools, and raises their errors."""
        while self._position < len(self._order):
            query_id = self._order[self._position]
            pool = self._pools(query_id)
            for number, document in enumerate(pool.documents, 1):
                if self._is_open(query_id, document.id):
                    return JudgingItem(
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
            self._position += 1
        return None

    def press(self, key: str) -> None:
        """Apply a key: a grade, ``s`` skip, ``n`` next query, ``b`` back.

        A grade is on disk when this returns. A skipped item stays unjudged, and the next session
        shows it again. Back undoes the last key and its judgment. Raises `InputError` for another
        key and at the end, and the errors of `Judgments.add`; nothing has changed then.
        """
        if key == BACK:
            self._undo()
        elif key == SKIP:
            item = self._required()
            self._record(item.query_id, (item.document.id,), is_judged=False)
        elif key == NEXT:
            query_id = self._required().query_id
            documents = self._pools(query_id).documents
            doc_ids = tuple(doc.id for doc in documents if self._is_open(query_id, doc.id))
            self._record(query_id, doc_ids, is_judged=False)
        elif key.isascii() and key.isdecimal() and int(key) < len(self.grades):
            item = self._required()
            self._judgments.add(item.query_id, item.document.id, int(key))
            self._record(item.query_id, (item.document.id,), is_judged=True)
        else:
            grades = ", ".join(str(grade) for grade in range(len(self.grades)))
            raise InputError(f"key {key!r}: expected {grades}, {SKIP}, {NEXT} or {BACK}")

    def _undo(self) -> None:
        if not self._actions:
            return
        action = self._actions[-1]
        taken_back = None
        if action.is_judged:
            taken_back = self._judgments.remove(action.query_id, action.doc_ids[0])
        self._actions.pop()
        self._skipped -= {(action.query_id, doc_id) for doc_id in action.doc_ids}
        self._position = action.position
        self._taken_back = taken_back

    def _record(self, query_id: str, doc_ids: tuple[str, ...], *, is_judged: bool) -> None:
        self._actions.append(_Action(self._position, query_id, doc_ids, is_judged))
        if not is_judged:
            self._skipped |= {(query_id, doc_id) for doc_id in doc_ids}
        self._taken_back = None

    def _is_open(self, query_id: str, doc_id: str) -> bool:
        return (query_id, doc_id) not in self._skipped and not self._judgments.has(query_id, doc_id)

    def _required(self) -> JudgingItem:
        item = self.current()
        if item is None:
            raise InputError(f"nothing is left to judge; only {BACK} has an effect now")
        return item
