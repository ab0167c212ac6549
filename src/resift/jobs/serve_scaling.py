"""How many replicas a cluster needs, by the tokens that wait. Knows no Ray.

Ray sends this module by value to its controller: it must import nothing of resift.
"""

import math
from typing import Any

QUEUED_TOKENS = "queued_tokens"
"""The name of what a replica reports: the estimated tokens of its open calls."""


class QueuedTokens:
    """A policy of Ray Serve: one replica for each `target` tokens that wait.

    Ray keeps the result within the bounds of the deployment, and waits before it acts.
    """

    def __init__(self, target: int) -> None:
        self.target = target

    def __call__(self, context: Any) -> tuple[int, dict[str, Any]]:
        """The number of replicas, and no state. `context` is Ray's ``AutoscalingContext``."""
        reports = (context.aggregated_metrics or {}).get(QUEUED_TOKENS)
        return needed(reports, self.target, context.target_num_replicas), {}


def needed(reports: dict[Any, float] | None, target: int, now: int) -> int:
    """Replicas for the tokens that replicas report; as many as `now` if none has reported."""
    if not reports:
        return now
    return math.ceil(sum(reports.values()) / target)
