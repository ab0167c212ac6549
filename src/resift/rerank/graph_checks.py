"""What a model's graphs read and give, by the shapes that a runtime finds in them; nothing runs.

One logit a pair is what all else relies on. So a graph without a head, or with a head of several
labels, is refused where it is loaded. What the numbers are worth is `verification.py`'s.
"""

from collections.abc import Sequence

from resift.errors import ArtifactError
from resift.rerank.artifact import Artifact
from resift.rerank.late_interaction import FEATURES
from resift.rerank.runtimes import Session, Shape

NEXT_STATES = "next_states"
"""What a cross-encoder's stage calls the states that it hands on; the next one reads `states`."""

IDS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
CROSS_ATTENTION = frozenset(
    {"query_states", "query_mask", "query_own", "states", "attention_mask", "own", "logits"}
)
AGAIN = "convert the checkpoint again with  resift convert"


def check_graphs(artifact: Artifact, sessions: Sequence[Session]) -> None:
    """Raise `ArtifactError` where a reranker's stages, in order, cannot give one logit a pair."""
    names = [str(stage) for stage in artifact.stages]
    if artifact.manifest.kind == "late_interaction":
        for check, name, session in zip((_encodes, _meets, _ends), names, sessions, strict=False):
            check(name, session)
    else:
        if ["states" in own.inputs for own in sessions] != [n > 0 for n in range(len(sessions))]:
            raise ArtifactError(
                f"{artifact.folder}: its stages do not follow one another; convert it again"
            )
        for place, (name, session) in enumerate(zip(names, sessions, strict=True)):
            _reads(name, session, IDS | {"states"})
            _one_logit(name, session, "logits")
            if place + 1 < len(sessions):
                _gives(name, session, NEXT_STATES, 3)
    cuts = len(sessions) - (2 if artifact.manifest.kind == "late_interaction" else 1)
    if len(artifact.manifest.exits) > cuts:
        raise ArtifactError(
            f"{artifact.folder}: its manifest knows {len(artifact.manifest.exits)} exits, its "
            f"{len(sessions)} files have {cuts}; convert it again"
        )


def check_encoder(name: str, session: Session) -> None:
    """Raise `ArtifactError` where a graph is no encoder that gives states of its tokens."""
    _reads(name, session, IDS)
    _gives(name, session, "states", 3)


def _encodes(name: str, session: Session) -> None:
    _reads(name, session, IDS)
    _gives(name, session, "layers" if "layers" in session.outputs else "states", 3)


def _meets(name: str, session: Session) -> None:
    _reads(name, session, CROSS_ATTENTION)
    _gives(name, session, "means", 2)
    _gives(name, session, "features", 2)
    shape = session.outputs["features"]
    if shape is not None and shape[-1] not in (None, len(FEATURES)):
        raise ArtifactError(
            f"{name}: gives {shape[-1]} features a pair, expected {len(FEATURES)}: "
            f"{', '.join(FEATURES)}; use the resift that made it"
        )


def _ends(name: str, session: Session) -> None:
    _reads(name, session, CROSS_ATTENTION)
    _one_logit(name, session, "residual")


def _reads(name: str, session: Session, known: frozenset[str]) -> None:
    unknown = session.inputs - known
    if unknown:
        raise ArtifactError(
            f"{name}: reads {', '.join(sorted(unknown))}, resift gives "
            f"{', '.join(sorted(known))}; {AGAIN}"
        )


def _gives(name: str, session: Session, output: str, axes: int) -> None:
    if output not in session.outputs:
        raise ArtifactError(
            f"{name}: gives no {output} but {', '.join(sorted(session.outputs))}; {AGAIN}"
        )
    shape = session.outputs[output]
    if shape is not None and len(shape) != axes:
        raise ArtifactError(
            f"{name}: its {output} are {_written(shape)}, expected {axes} axes; {AGAIN}"
        )


def _one_logit(name: str, session: Session, output: str) -> None:
    """A head gives one number a row, ``(rows,)``."""
    if output not in session.outputs:
        raise ArtifactError(
            f"{name}: has no head: gives {', '.join(sorted(session.outputs))}, expected {output}; "
            "it was exported as an encoder, without its classifier; " + AGAIN
        )
    shape = session.outputs[output]
    if shape is None or len(shape) == 1:
        return
    labels = shape[-1]
    if len(shape) == 2 and labels is not None and labels > 1:
        raise ArtifactError(
            f"{name}: its head gives {labels} labels a pair, expected 1 logit; which of them is "
            f"relevance is not known here, {AGAIN}"
        )
    raise ArtifactError(
        f"{name}: its head gives {output} of shape {_written(shape)}, expected (rows); {AGAIN}"
    )


def _written(shape: Shape) -> str:
    sizes = ("any" if size is None else str(size) for size in (shape or ()))
    return f"({', '.join(sizes)})"
