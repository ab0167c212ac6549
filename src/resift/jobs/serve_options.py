"""What serving on a cluster takes beside the options of a server, checked once."""

import re
from dataclasses import dataclass

from resift.errors import InputError, shown
from resift.serve.options import ServeOptions

MAX_REPLICAS = 1_000

QUEUE_SHARE = 10
"""A replica is added when each has more than this part (1/10) of the tokens that may wait for it:
by default 50,000, which take two cores some 1.5 seconds."""


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """How many replicas, at least and at most, and the CPUs that each reserves.

    Raises `InputError` for invalid values.
    """

    least: int = 1
    most: int = 1
    cpus: int = 1

    def __post_init__(self) -> None:
        given = f"{self.least}" if self.least == self.most else f"{self.least}:{self.most}"
        if not (1 <= self.least <= MAX_REPLICAS and 1 <= self.most <= MAX_REPLICAS):
            raise InputError(
                f"replicas={given}: expected a number, or MIN:MAX, of 1 to {MAX_REPLICAS}"
            )
        if self.least > self.most:
            raise InputError(f"replicas={given}: expected MIN:MAX, but MIN is over MAX")
        if not 1 <= self.cpus <= MAX_REPLICAS:
            raise InputError(f"replica_cpus={self.cpus}: expected 1 or more CPUs")

    @classmethod
    def parse(cls, replicas: str, cpus: int) -> "ReplicaOptions":
        """The options of ``N`` or ``MIN:MAX`` replicas."""
        match = re.fullmatch(r"([0-9]{1,9})(?::([0-9]{1,9}))?", replicas)
        if match is None:
            raise InputError(f"replicas={shown(replicas)}: expected a number, or MIN:MAX as in 1:8")
        least = int(match[1])
        return cls(least, least if match[2] is None else int(match[2]), cpus)


def check_for_cluster(options: ServeOptions) -> None:
    """Raise `InputError` for options that a server on a cluster does not have."""
    if options.workers > 1:
        raise InputError(
            f"workers={options.workers}: a cluster has replicas instead; give --replicas"
        )


def target_tokens(options: ServeOptions) -> int:
    """The tokens for which one replica suffices."""
    return options.max_queue_tokens // QUEUE_SHARE
