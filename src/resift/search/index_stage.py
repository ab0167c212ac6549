"""An index as the first stage of a search."""

from dataclasses import dataclass

from resift.search.call import Retrieved, SearchCall
from resift.search.clock import Clock
from resift.search.components import Components
from resift.search.neighbours import VersionReader
from resift.search.options import SearchOptions
from resift.search.retrieval import retrieve


@dataclass(frozen=True, slots=True)
class IndexStage:
    """The retrievers of one version of an index."""

    components: Components

    def retrieve(self, call: SearchCall) -> Retrieved:
        """The candidates, as `retrieval.retrieve` has them."""
        return retrieve(call, self.components)

    def neighbours(self) -> VersionReader | None:
        """What reads the neighbours of hits; None if no version was open in time."""
        job = self.components.snapshot
        return VersionReader(job.result()) if job.done() and job.exception() is None else None


def index_call(
    query: str,
    options: SearchOptions,
    components: Components,
    clock: Clock,
    notes: tuple[str, ...] = (),
) -> SearchCall:
    """The call of a search of an index."""
    stage, background = IndexStage(components), components.background
    return SearchCall(query, options, stage, components.reranker, background, clock, notes)
