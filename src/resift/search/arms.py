"""The first stage's two arms: they look at once, and one that fails or is late is left out."""

from concurrent.futures import Future

from resift.index.background import then
from resift.index.embed import Embedder
from resift.index.table.snapshot import RowFilter, Scored, View
from resift.search.clock import Clock, Late
from resift.search.degrade import is_outage, noted
from resift.search.fusion import reciprocal_rank_fusion
from resift.search.gaps import Gaps
from resift.search.parts import Parts
from resift.search.plan import Mode, SearchPlan

_ARMS: dict[Mode, tuple[str, ...]] = {
    "hybrid": ("lexical", "dense"),
    "lexical": ("lexical",),
    "dense": ("dense",),
}
_SHARE = 0.5
"""Of the time that is left: so long an arm is waited for where the other one has answered."""


class Arms:
    """Both arms over one view of an index, for one query."""

    def __init__(
        self, query: str, view: View, parts: Parts, plan: SearchPlan, clock: Clock
    ) -> None:
        self._query = query
        self._view = view
        self._parts = parts
        self._plan = plan
        self._clock = clock
        self._most = min(plan.window, max(len(view), 1))

    def look(self, allowed: RowFilter | None, gaps: Gaps) -> Scored:
        """Row ids with scores, best first: one arm's, or both fused.

        Raises what an arm raised where no arm has answered, and `Late` where none was in time.
        """
        names = _ARMS[self._plan.mode]
        jobs = self._one_by_one(names, allowed, gaps)
        answers, errors, late = [], [], []
        for name, job in jobs.items():
            if not job.done():
                job.cancel()
                late.append(name)
            elif error := job.exception():
                if len(names) == 1 or not is_outage(error):
                    raise error
                errors.append(error)
                gaps.note(noted(f"the {name} arm", error))
            else:
                answers.append(job.result())
        if not answers and late:
            raise Late("time was up before an arm had answered")
        if not answers:
            raise errors[0]
        for name in late:
            gaps.note(f"without the {name} arm: time was up")
        if len(names) == 1:
            return answers[0]
        with self._clock.stage("fuse"):
            return reciprocal_rank_fusion([[row_id for row_id, _ in arm] for arm in answers])

    def _one_by_one(
        self, names: tuple[str, ...], allowed: RowFilter | None, gaps: Gaps
    ) -> "dict[str, Future[Scored]]":
        """The arms begun and waited for: at once, or in turns where requests are counted."""
        jobs: dict[str, Future[Scored]] = {}
        for name in names:
            if jobs and not gaps.may(self._view.requests, f"the {name} arm"):
                break
            jobs[name] = self._begin(name, allowed, gaps)
            if gaps.counting:
                self._wait(jobs)
        self._wait(jobs)
        return jobs

    def _wait(self, jobs: "dict[str, Future[Scored]]") -> None:
        """For all of them half of the time that is left; then for the first that answers."""
        self._clock.wait_for(jobs.values(), _SHARE)
        late = [job for job in jobs.values() if not job.done()]
        if not any(job.done() and job.exception() is None for job in jobs.values()):
            self._clock.wait_for(late, first=True)

    def _begin(self, name: str, allowed: RowFilter | None, gaps: Gaps) -> "Future[Scored]":
        run, clock, view = self._parts.background.run, self._clock, self._view

        def dense(embedder: Embedder) -> Scored:
            with clock.stage("embed"):
                vector = embedder.embed_query(self._query)
            if not vector.any():
                gaps.note("without the dense arm: its embedder knows no word of the query")
                return []
            with clock.stage("dense"):
                return view.dense(vector, self._most, allowed)

        def lexical() -> Scored:
            with clock.stage("lexical"):
                return view.lexical(self._query, self._most, allowed)

        if name == "lexical" or self._parts.embedder is None:
            return run(lexical)
        return then(self._parts.embedder, lambda embedder: run(lambda: dense(embedder)))
