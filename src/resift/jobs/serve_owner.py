"""Which command has deployed the application last: Ray keeps only when it was deployed first."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from resift.extras import require

KEY = "resift-serve-owner"


@dataclass(frozen=True, slots=True)
class Owner:
    """A command, and whether Ray Serve ends with it: it has begun Serve, or one it replaced has."""

    command: str
    ends_serve: bool

    @classmethod
    def read(cls) -> "Owner | None":
        """The command that has deployed last; None if none has."""
        stored = _store()._internal_kv_get(KEY)
        return cls(**json.loads(stored)) if stored else None

    def write(self) -> None:
        """Make this command the one that has deployed last."""
        _store()._internal_kv_put(KEY, json.dumps(asdict(self)))


def _store() -> Any:
    """The store of the cluster's head: it outlives a command, and ends with the cluster."""
    return require("ray.experimental.internal_kv", "ray")
