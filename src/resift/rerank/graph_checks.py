"""Checks of a model's graphs by their declared inputs and shapes; nothing runs.

A reranker has to give one logit a pair. A graph without a head, or with a head of several labels,
is refused when it is loaded. `verify` checks the numbers.
"""

from collections.abc import Callable, Mapping, Sequence

from resift.errors import ArtifactError
from resift.rerank.artifact import Artifact, Kind
from resift.rerank.late_interaction import FEATURES
from resift.rerank.runtimes import Session, Shape

NEXT_STATES = "next_states"
"""The output of a cross-encoder's stage that the next stage reads as its input `states`."""

IDS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
CROSS_ATTENTION = frozenset(
    {"query_states", "query_mask", "query_own", "states", "attention_mask", "own", "logits"}
)
MAXSIM = frozenset({"query_states", "query_own", "states", "own"})
CAUSAL = frozenset({"input_ids", "attention_mask", "past", "past_mask", "present_tokens"})
REMEDY = "convert the checkpoint again with  resift convert"


def check_graphs(artifact: Artifact, sessions: Sequence[Session]) -> None:
    """Raise `ArtifactError` if a reranker's stages, in order, cannot give one logit a pair."""
    names = [str(stage) for stage in artifact.stages]
    if checks := _TWO_SIDED.get(artifact.manifest.kind):
        for check, name, session in zip(checks, names, sessions, strict=False):
            check(name, session)
    elif artifact.manifest.kind == "causal":
        _check_causal(artifact, names, sessions)
    else:
        reads_states = ["states" in session.inputs for session in sessions]
        if reads_states != [number > 0 for number in range(len(sessions))]:
            raise ArtifactError(
                f"{artifact.folder}: its stages do not follow one another; convert it again"
            )
        for number, (name, session) in enumerate(zip(names, sessions, strict=True), 1):
            _check_inputs(name, session, IDS | {"states"})
            _check_head(name, session, "logits")
            if number < len(sessions):
                _check_output(name, session, NEXT_STATES, 3)
    cuts = len(sessions) - (2 if checks else 1)
    if len(artifact.manifest.exits) > cuts:
        raise ArtifactError(
            f"{artifact.folder}: its manifest has {len(artifact.manifest.exits)} exits, its "
            f"{len(sessions)} files have {cuts}; convert it again"
        )


def check_encoder(name: str, session: Session) -> None:
    """Raise `ArtifactError` if a graph is not an encoder that gives token states."""
    _check_inputs(name, session, IDS)
    _check_output(name, session, "states", 3)


def _check_causal(artifact: Artifact, names: Sequence[str], sessions: Sequence[Session]) -> None:
    if len(sessions) != 1:
        raise ArtifactError(
            f"{artifact.folder}: a causal reranker of {len(sessions)} files, this resift runs 1; "
            "use the resift that made it"
        )
    name, session = names[0], sessions[0]
    _check_inputs(name, session, CAUSAL)
    _check_head(name, session, "logits")
    _check_output(name, session, "present", 4)
    layers, heads, _, size = session.outputs["present"] or (None,) * 4
    if None in (layers, heads, size):
        raise ArtifactError(
            f"{name}: declares no size of its keys and values, expected (layers * 2, heads, any, "
            f"size); {REMEDY}"
        )


def _check_maxsim(name: str, session: Session) -> None:
    _check_inputs(name, session, MAXSIM)
    _check_head(name, session, "logits")


def _check_states(name: str, session: Session) -> None:
    _check_inputs(name, session, IDS)
    _check_output(name, session, "layers" if "layers" in session.outputs else "states", 3)


def _check_late_interaction(name: str, session: Session) -> None:
    _check_inputs(name, session, CROSS_ATTENTION)
    _check_output(name, session, "means", 2)
    _check_output(name, session, "features", 2)
    shape = session.outputs["features"]
    if shape is not None and shape[-1] not in (None, len(FEATURES)):
        raise ArtifactError(
            f"{name}: gives {shape[-1]} features a pair, expected {len(FEATURES)}: "
            f"{', '.join(FEATURES)}; use the resift that made it"
        )


def _check_cross_attention(name: str, session: Session) -> None:
    _check_inputs(name, session, CROSS_ATTENTION)
    _check_head(name, session, "residual")


def _check_inputs(name: str, session: Session, available: frozenset[str]) -> None:
    unknown = session.inputs - available
    if unknown:
        raise ArtifactError(
            f"{name}: reads {', '.join(sorted(unknown))}, resift gives "
            f"{', '.join(sorted(available))}; {REMEDY}"
        )


def _check_output(name: str, session: Session, output: str, axes: int) -> None:
    if output not in session.outputs:
        raise ArtifactError(
            f"{name}: gives no {output} but {', '.join(sorted(session.outputs))}; {REMEDY}"
        )
    shape = session.outputs[output]
    if shape is not None and len(shape) != axes:
        raise ArtifactError(
            f"{name}: its {output} are {_format(shape)}, expected {axes} axes; {REMEDY}"
        )


def _check_head(name: str, session: Session, output: str) -> None:
    """Raise `ArtifactError` unless `output` is one number a row, ``(rows,)``."""
    if output not in session.outputs:
        raise ArtifactError(
            f"{name}: has no head: gives {', '.join(sorted(session.outputs))}, expected {output}; "
            "it was exported as an encoder, without its classifier; " + REMEDY
        )
    shape = session.outputs[output]
    if shape is None or len(shape) == 1:
        return
    labels = shape[-1]
    if len(shape) == 2 and labels is not None and labels > 1:
        raise ArtifactError(
            f"{name}: its head gives {labels} labels a pair, expected 1 logit; which of them is "
            f"relevance is not known here, {REMEDY}"
        )
    raise ArtifactError(
        f"{name}: its head gives {output} of shape {_format(shape)}, expected (rows); {REMEDY}"
    )


def _format(shape: Shape) -> str:
    sizes = ("any" if size is None else str(size) for size in (shape or ()))
    return f"({', '.join(sizes)})"


_TWO_SIDED: Mapping[Kind, Sequence[Callable[[str, Session], None]]] = {
    "late_interaction": (_check_states, _check_late_interaction, _check_cross_attention),
    "multi_vector": (_check_states, _check_maxsim),
}
"""The checks of an encoder and of the files that read its states, in order."""
