"""What each step takes for these targets: processor time, bytes and requests. Knows no machine."""

import math
from dataclasses import dataclass, replace

from resift.planning.costs import Costs, Estimate
from resift.planning.targets import Targets

PASSAGES_A_DOCUMENT = 10
"""Assumed: a listing and a read of the source are paid per document."""

COMMIT_PASSAGES = 10_000
"""Passages of a commit, as in ``resift.index.writer``."""

STALE_SHARE = 0.2
"""The vector index is built anew when this share has changed, as in ``resift.index.table``."""

DAYS_KEPT = 7
"""Replaced versions are deleted after so many days."""

VECTOR_BYTES = 4 * 384
"""The part of a row that does not grow with its text: the bundled embedder's vector."""

MS_AN_HOUR = 3.6e6

EFFICIENCY = 0.9
"""Assumed: the share of their time that the cores of a build work."""


@dataclass(frozen=True, slots=True)
class Step:
    """Processor hours of a step of a build or of a month of syncs, and from what they come.

    A step `by_shard` does not share a shard among machines.
    """

    name: str
    core_hours: float
    estimates: tuple[Estimate, ...]
    by_shard: bool = False

    def hours(self, cores: float, cores_a_machine: float, shards: int) -> float:
        """How long a build's step takes on so many cores, with `EFFICIENCY`."""
        if not self.by_shard:
            return self.core_hours / EFFICIENCY / cores
        machines = math.ceil(cores / cores_a_machine)
        rounds = math.ceil(shards / machines)
        return rounds * self.core_hours / shards / EFFICIENCY / min(cores, cores_a_machine)


class Demand:
    """The work of each step, from targets and unit costs."""

    def __init__(self, targets: Targets, costs: Costs) -> None:
        self.targets, self.costs = targets, costs
        self.tokens = targets.words * costs.value("tokens_a_word")
        self._in_shard = targets.passages_a_shard
        self._longer = self.tokens / costs.value("passage_tokens")

    def of_index(self, name: str) -> Estimate:
        """A unit cost for one shard."""
        return self.costs.estimate(name, self._in_shard)

    def of_text(self, name: str) -> Estimate:
        """A unit cost for a passage of this length."""
        return self.costs.estimate(name, self.tokens)

    def build_steps(self, passages: float, rebuilds: float = 1.0) -> list[Step]:
        """Reading, embedding and writing passages; a graph that is built `rebuilds` times."""
        read, embed = self.of_index("parse_ms"), self.of_text("embed_ms")
        write, terms = self.of_index("write_ms"), self.of_index("terms_ms")
        graph, states = self.of_index("graph_ms"), self.of_text("states_ms")
        hours = passages / MS_AN_HOUR
        steps = [
            Step("read, parse", hours * read.value * self._longer, (read,)),
            Step("embed", hours * embed.value, (embed,)),
        ]
        if self.targets.token_states:
            steps.append(Step("token states", hours * states.value, (states,)))
        index = terms.value * self._longer + graph.value * rebuilds
        return [
            *steps,
            Step("write", hours * write.value * self._longer, (write,)),
            Step("index, publish", hours * index, (terms, graph), by_shard=True),
        ]

    def sync_steps(self, days: float) -> list[Step]:
        """The changes of so many days. Each sync makes the full-text index of a shard anew."""
        changed = self.targets.changed_a_day * days
        *steps, index = self.build_steps(changed, 1 + 1 / STALE_SHARE)
        terms = self.of_index("terms_ms")
        again = self.shards_a_sync * self.targets.syncs * days * self._in_shard
        more = again * terms.value * self._longer / MS_AN_HOUR
        return [*steps, replace(index, core_hours=index.core_hours + more)]

    @property
    def shards_a_sync(self) -> float:
        """How many shards a sync changes, on average: documents are in random shards."""
        documents = self.targets.changed_a_day / PASSAGES_A_DOCUMENT / self.targets.syncs
        shards = self.targets.shards
        if shards == 1:
            return min(documents, 1.0)
        return -shards * math.expm1(documents * math.log1p(-1 / shards))

    def build_requests(self) -> tuple[float, float]:
        """(writes and listings, reads) of a build, of the source and of the index."""
        documents = self.targets.passages / PASSAGES_A_DOCUMENT
        commits = max(self.targets.passages / COMMIT_PASSAGES - self.targets.shards, 0.0)
        puts = documents / 1e3 + self.targets.shards * self.costs.value("sync_puts")
        puts += commits * self.costs.value("commit_puts")
        return puts, documents + self.targets.shards * self.costs.value("sync_gets")

    def sync_requests(self, days: float) -> tuple[float, float]:
        """(writes and listings, reads) of the syncs of so many days."""
        syncs = self.targets.syncs * days
        documents = self.targets.passages / PASSAGES_A_DOCUMENT
        puts = syncs * (documents / 1e3 + self.shards_a_sync * self.costs.value("sync_puts"))
        changed = self.targets.changed_a_day * days / PASSAGES_A_DOCUMENT
        return puts, changed + syncs * self.shards_a_sync * self.costs.value("sync_gets")

    def bytes_a_passage(self) -> float:
        """Bytes of a passage in a published version: its row, and its part of both indexes."""
        row = self.of_index("row_bytes").value
        text = max(row - VECTOR_BYTES, 0.0) + self.of_index("terms_bytes").value
        states = self.costs.value("state_bytes") * self.tokens if self.targets.token_states else 0.0
        return (
            min(row, VECTOR_BYTES)
            + text * self._longer
            + self.of_index("graph_bytes").value
            + states
        )

    def stored_bytes(self) -> float:
        """Bytes in object storage, with the replaced versions of a week."""
        again = self.shards_a_sync * self.targets.syncs * DAYS_KEPT * self._in_shard
        terms = self.of_index("terms_bytes").value * self._longer
        changed = self.targets.changed_a_day * DAYS_KEPT * self.bytes_a_passage()
        return self.targets.passages * self.bytes_a_passage() + again * terms + changed
