"""Checks of a model's graphs by their declared inputs and shapes; nothing runs.

A reranker has to give one logit a pair. A graph without a head, or with a head of several labels,
is refused when it is loaded. `verify` checks the numbers.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from resift.errors import ArtifactError
from resift.rerank.artifact import Artifact, Kind
from resift.rerank.late_interaction import FEATURES, TERM_FEATURE
from resift.rerank.runtimes import Session, Shape

NEXT_STATES = "next_states"
"""The output of a cross-encoder's stage that the next stage reads as its input `states`."""

IDS = frozenset({"input_ids", "attention_mask", "token_type_ids"})
CROSS_ATTENTION = frozenset(
    {"query_states", "query_mask", "query_own", "states", "attention_mask", "own", "logits"}
)
TERM_INPUTS = frozenset({"terms", "term_biases", "term_shares"})
MAXSIM = frozenset({"query_states", "query_own", "states", "own"})
CAUSAL = frozenset({"input_ids", "attention_mask", "past", "past_mask", "present_tokens"})
REMEDY = "convert the checkpoint again with  resift convert"


def check_graphs(artifact: Artifact, sessions: Sequence[Session]) -> None:
    """Raise `ArtifactError` if a reranker's stages, in order, cannot give one logit a pair."""
    names = [str(stage) for stage in artifact.stages]
    if checks := _TWO_SIDED.get(artifact.manifest.kind):
        for check, name, session in zip(checks, names, sessions, strict=False):
            check(name, session)
        _check_term_inputs(artifact, names, sessions)
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


def check_term_graphs(
    files: Sequence[Path], sessions: Sequence[Session], size: tuple[int, int]
) -> None:
    """Raise `ArtifactError` if graphs do not give a text's term states and a query's terms.

    `size` is the number of a query's terms and the width of the word table.
    """
    (name, query_name), (encoder, query_terms) = map(str, files), sessions
    _check_inputs(name, encoder, frozenset({"input_ids", "attention_mask", "table"}))
    _check_output(name, encoder, "states", 3)
    _check_inputs(query_name, query_terms, frozenset({"states", "table", "table_biases"}))
    for output, axes in (("vectors", 2), ("biases", 1), ("shares", 1)):
        _check_output(query_name, query_terms, output, axes)
    _check_width(name, encoder, "states", size[1:])
    _check_width(query_name, query_terms, "vectors", size)
    if unknown := set(query_terms.outputs) - {"vectors", "biases", "shares"}:
        raise ArtifactError(f"{query_name}: gives {', '.join(sorted(unknown))} as well; {REMEDY}")


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
    _check_inputs(name, session, CROSS_ATTENTION | TERM_INPUTS)
    _check_output(name, session, "means", 2)
    _check_output(name, session, "features", 2)
    expected = (*FEATURES, TERM_FEATURE) if session.inputs >= TERM_INPUTS else FEATURES
    shape = session.outputs["features"]
    if shape is not None and shape[-1] not in (None, len(expected)):
        raise ArtifactError(
            f"{name}: gives {shape[-1]} features a pair, expected {len(expected)}: "
            f"{', '.join(expected)}; use the resift that made it"
        )


def _check_term_inputs(
    artifact: Artifact, names: Sequence[str], sessions: Sequence[Session]
) -> None:
    """Raise `ArtifactError` unless late interaction reads terms as the manifest says."""
    if artifact.manifest.kind == "late_interaction":
        reads_terms = sessions[1].inputs >= TERM_INPUTS
        if reads_terms != bool(artifact.terms):
            raise ArtifactError(
                f"{names[1]}: reads {'' if reads_terms else 'no '}terms, and the manifest gives "
                f"{'them no' if reads_terms else 'them a'} weight; {REMEDY}"
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


def _check_width(name: str, session: Session, output: str, expected: tuple[int, ...]) -> None:
    """Raise `ArtifactError` if the last sizes of an output are declared and others."""
    shape = session.outputs[output]
    sizes = () if shape is None else shape[-len(expected) :]
    if any(size not in (None, wanted) for size, wanted in zip(sizes, expected, strict=False)):
        raise ArtifactError(
            f"{name}: its {output} are {_format(shape)}, expected {_format(expected)} at the end, "
            f"as the word table has; {REMEDY}"
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
