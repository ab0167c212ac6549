"""An artifact → a model that runs: the one place that knows all kinds of rerankers."""

from resift.errors import ArtifactError
from resift.rerank.artifact import Artifact
from resift.rerank.causal import load_causal
from resift.rerank.graph_checks import check_graphs
from resift.rerank.models import CrossEncoder, LateInteractionModel, Model
from resift.rerank.multi_vector import load_multi_vector
from resift.rerank.runtimes import open_session
from resift.rerank.terms import TermEncoder
from resift.rerank.tokenization import Tokens, load_tokenizer


def load_model(artifact: Artifact, runtime: str | None = None, threads: int = 0) -> Model:
    """Open an artifact's stages in a runtime. Raises `ArtifactError` if it cannot rank."""
    manifest = artifact.manifest
    if manifest.kind == "embedder":
        raise ArtifactError(
            f"{artifact.folder}: an embedder, which reads no pairs; name it as RESIFT_EMBEDDER, "
            "or convert a cross-encoder"
        )
    if manifest.kind == "late_interaction" and not 2 <= len(artifact.stages) <= 3:
        raise ArtifactError(
            f"{artifact.folder}: a late-interaction model of {len(artifact.stages)} files, "
            "this resift runs 2 or 3; use the resift that made it"
        )
    if manifest.multi_vector is not None:
        return load_multi_vector(artifact, manifest.multi_vector, runtime, threads)
    if manifest.causal is not None:
        return load_causal(artifact, manifest.causal, runtime, threads)
    tokenizer = load_tokenizer(artifact.tokenizer)
    tokens = Tokens(tokenizer, manifest.max_tokens)
    sessions = [open_session(stage, runtime, threads) for stage in artifact.stages]
    check_graphs(artifact, sessions)
    if manifest.late_interaction is None:
        return CrossEncoder(tokens, *sessions, prompt=manifest.query_prompt)
    encoder, late, *cross_attention = sessions
    terms = TermEncoder.open(artifact.terms, runtime, threads) if artifact.terms else None
    if terms is not None and terms.count != tokenizer.get_vocab_size():
        raise ArtifactError(
            f"{artifact.folder}: a table of {terms.count} terms, its tokenizer has "
            f"{tokenizer.get_vocab_size()}; copy the model again"
        )
    weights = manifest.late_interaction
    return LateInteractionModel(tokens, encoder, late, weights, *cross_attention, terms=terms)
