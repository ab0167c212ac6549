"""A sentence-transformers folder → an encoder, its pooling, dense layers and prompts.

Prompts are, in this order, the caller's, those of the checkpoint's configuration, and those of the
model's card.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from resift.convert.calibration_text import Pairs
from resift.convert.checkpoint import Checkpoint, most_tokens, read_encoder
from resift.convert.families.family import Arrays
from resift.convert.graph import Activation
from resift.convert.layers import EncoderShape
from resift.convert.modules import (
    module_folder,
    module_kinds,
    read_dense,
    read_limit,
    read_pooling,
    read_prompts,
)
from resift.errors import ModelError
from resift.rerank.artifact import Pooling
from resift.rerank.batching import LENGTH_STEP
from resift.rerank.checkpoint_files import MODULES
from resift.rerank.known_embedders import known_embedder

MODULE_KINDS = ("Transformer", "Pooling", "Dense", "Normalize")
PASSAGE_PROMPTS = ("document", "passage", "corpus")

_log = logging.getLogger("resift")


@dataclass(frozen=True, slots=True)
class BiEncoder:
    """A checkpoint that makes one vector per text; a missing prompt is empty.

    `dense` are the activations of the layers behind the pooling.
    """

    encoder: Checkpoint
    pooling: Pooling
    query_prompt: str
    passage_prompt: str
    weights: Arrays
    dense: tuple[Activation, ...] = ()

    @property
    def shape(self) -> EncoderShape:
        """The encoder's shape, with the pooling."""
        return replace(self.encoder.shape, pooling=self.pooling)

    def prompted(self, pairs: Pairs) -> tuple[list[str], list[str]]:
        """The queries and the passages of pairs, with prompts."""
        return self.queries([query for query, _ in pairs]), self.passages(
            [text for _, text in pairs]
        )

    def queries(self, queries: Sequence[str]) -> list[str]:
        return [self.query_prompt + query for query in queries]

    def passages(self, texts: Sequence[str]) -> list[str]:
        return [self.passage_prompt + text for text in texts]


def read_bi_encoder(
    folder: Path, name: str, prompts: tuple[str | None, str | None] = (None, None)
) -> BiEncoder:
    """Read a folder of Transformer, Pooling (mean or cls), Dense and Normalize.

    A folder without modules is an encoder whose states are averaged, as sentence-transformers does.
    `name` is its hub id, if it has one. `prompts` are the caller's. Raises `ModelError`.
    """
    has_modules = (folder / MODULES).is_file()
    transformer = folder
    pooling: Pooling = "mean"
    weights: Arrays = {}
    dense: tuple[Activation, ...] = ()
    if has_modules:
        _check_modules(folder)
        transformer, pooling = module_folder(folder, "Transformer"), read_pooling(folder)
        weights, dense = read_dense(folder)
    else:
        _log.warning("%s: has no %s, so its token states are averaged", name, MODULES)
    encoder = read_encoder(transformer)
    _check_widths(encoder, weights, len(dense), folder)
    query_prompt, passage_prompt = _prompts(folder, name)
    return BiEncoder(
        _limited(encoder, transformer, folder),
        pooling,
        query_prompt if prompts[0] is None else prompts[0],
        passage_prompt if prompts[1] is None else prompts[1],
        {**encoder.weights, **weights},
        dense,
    )


def _limited(encoder: Checkpoint, transformer: Path, folder: Path) -> Checkpoint:
    """The encoder for texts as long as its folder says, and as memory allows, in whole steps."""
    limit = read_limit(transformer, encoder.tokenizer, encoder.max_tokens)
    limit = min(limit, most_tokens(encoder.shape.heads))
    if limit < LENGTH_STEP:
        raise ModelError(f"{folder}: reads {limit} tokens; a text needs at least {LENGTH_STEP}")
    limit -= limit % LENGTH_STEP
    shape = replace(encoder.shape, positions=encoder.shape.positions.limited(limit))
    return replace(encoder, shape=shape, max_tokens=limit)


def _prompts(folder: Path, name: str) -> tuple[str, str]:
    """The prompts of the checkpoint's configuration, or of the model's card if it has none."""
    prompts = read_prompts(folder)
    query, passage = prompts.first("query"), prompts.first(*PASSAGE_PROMPTS)
    known = known_embedder(name)
    if query or passage or known is None:
        return query, passage
    return known.query_prompt, known.passage_prompt


def _check_modules(folder: Path) -> None:
    """Raise `ModelError` for modules of another kind, or in another order."""
    kinds = module_kinds(folder)
    for kind in kinds:
        if kind not in MODULE_KINDS:
            raise ModelError(
                f"{folder}: its module {kind} cannot be converted; expected "
                f"{', '.join(MODULE_KINDS)} and no other"
            )
    order = [MODULE_KINDS.index(kind) for kind in kinds]
    if order != sorted(order):
        raise ModelError(
            f"{folder}: modules {', '.join(kinds)} cannot be converted in this order; expected "
            f"{', '.join(MODULE_KINDS)}"
        )


def _check_widths(encoder: Checkpoint, weights: Arrays, layers: int, folder: Path) -> None:
    """Raise `ModelError` for dense layers that do not fit one another."""
    dim = len(encoder.weights["encoder.layer.0.output.dense.weight"])
    kernels = [weights[f"head.dense.{number}.weight"] for number in range(layers)]
    widths = [dim, *(len(kernel) for kernel in kernels)]
    for number, kernel in enumerate(kernels):
        bias = weights.get(f"head.dense.{number}.bias")
        is_odd = kernel.ndim != 2 or kernel.shape[1] != widths[number]
        if is_odd or (bias is not None and bias.shape != (len(kernel),)):
            raise ModelError(
                f"{folder}: a dense layer of size {kernel.shape} does not fit vectors of "
                f"{widths[number]} numbers; expected a model that was saved whole"
            )
