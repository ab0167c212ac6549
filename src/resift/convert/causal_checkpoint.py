"""A decoder's checkpoint folder → weights, shape, tokenizer, and the prompt of a reranker.

The prompt and the tokens that answer are the checkpoint's own, as sentence-transformers reads them:
its chat template and the settings of its module LogitScore. A checkpoint without them has those
that are published for a reranker of its architecture.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resift.convert.causal_graph import HEAD, WORDS, DecoderShape
from resift.convert.causal_prompts import AnswerTokens, read_answer_tokens, read_prompt
from resift.convert.checkpoint import MIN_PAIR_TOKENS, most_tokens, whole_steps
from resift.convert.config import Config
from resift.convert.families.decoders import PREFIX, Decoder, decoder_of
from resift.convert.modules import (
    LOGIT_SCORE,
    check_activation,
    module_kinds,
    read_limit,
    transformer_folder,
)
from resift.convert.safetensors_files import StoredWeights
from resift.convert.tokenizer_files import CheckpointTokenizer, read_tokenizer
from resift.errors import ModelError
from resift.rerank.causal_prompt import CausalPrompt
from resift.rerank.checkpoint_files import MODULES

_LM_HEAD = "lm_head.weight"
_PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")

Floats = NDArray[np.float32]


class CausalWeights(Mapping[str, Floats]):
    """A decoder's weights, each read when it is asked for, and its head, ``(dim,)``."""

    def __init__(self, stored: StoredWeights, answer_tokens: AnswerTokens) -> None:
        self._stored = stored
        vocabulary = _LM_HEAD if _LM_HEAD in stored else WORDS
        tokens = (answer_tokens.relevant, answer_tokens.irrelevant)
        rows = [stored.part(vocabulary, slice(n, n + 1))[0] for n in tokens if n is not None]
        self._head: Floats = rows[0] - sum(rows[1:])

    def __getitem__(self, name: str) -> Floats:
        return self._head if name == HEAD else self._stored[name]

    def __iter__(self) -> Iterator[str]:
        yield from (*self._stored, HEAD)

    def __len__(self) -> int:
        return len(self._stored) + 1


@dataclass(frozen=True, slots=True)
class CausalCheckpoint:
    """A causal reranker's checkpoint; its weights stay on disk until they are read."""

    weights: CausalWeights
    shape: DecoderShape
    max_tokens: int
    tokenizer: CheckpointTokenizer
    prompt: CausalPrompt


def read_causal(folder: Path) -> CausalCheckpoint:
    """Read a causal reranker. Raises `ModelError`."""
    transformer = transformer_folder(folder)
    _check_modules(folder)
    config = Config.read(transformer)
    decoder = decoder_of(config, transformer)
    shape = decoder.shape(config)
    stored = StoredWeights(transformer, lambda name: name.removeprefix(PREFIX))
    _check_weights(stored, shape, decoder, config)
    tokenizer = read_tokenizer(transformer, stored.shapes[WORDS][0])
    answer_tokens = read_answer_tokens(folder, tokenizer.tokenizer, decoder.prompt)
    rows = stored.shapes[_LM_HEAD if _LM_HEAD in stored else WORDS][0]
    if answer_tokens.highest >= rows:
        raise ModelError(
            f"{folder}: its answer is the token {answer_tokens.highest} of a vocabulary of {rows}; "
            "expected the settings that the model was saved with"
        )
    check_activation(folder, 1)
    prompt = read_prompt(folder, config, tokenizer.tokenizer, decoder.prompt, answer_tokens)
    limit = min(config.whole("max_position_embeddings", least=1), tokenizer.max_tokens)
    limit = read_limit(transformer, tokenizer, limit)
    limit = min(limit, most_tokens(shape.attention.heads))
    around = len(prompt.prefix) + len(prompt.middle) + len(prompt.suffix)
    limit = whole_steps(limit, around + MIN_PAIR_TOKENS, "pair", folder)
    return CausalCheckpoint(CausalWeights(stored, answer_tokens), shape, limit, tokenizer, prompt)


def _check_modules(folder: Path) -> None:
    if not (folder / MODULES).is_file():
        return
    kinds = module_kinds(folder)
    if kinds != ["Transformer", LOGIT_SCORE]:
        raise ModelError(
            f"{folder}: modules {', '.join(kinds)} cannot be converted; expected Transformer and "
            f"{LOGIT_SCORE}"
        )


def _check_weights(
    stored: StoredWeights, shape: DecoderShape, decoder: Decoder, config: Config
) -> None:
    """Raise `ModelError` for weights that are missing or of another size than in the config."""
    folder = config.file.parent
    expected = dict(_sizes(shape, decoder, config))
    missing = [name for name in expected if name not in stored]
    if missing:
        raise ModelError(
            f"{folder}: {len(missing)} weights are missing, such as {missing[0]}; expected a "
            "trained model with the layers that its config names"
        )
    odd = [name for name, size in expected.items() if stored.shapes[name] != size]
    if odd:
        raise ModelError(
            f"{folder}: {len(odd)} weights do not fit its config, such as {odd[0]} of size "
            f"{stored.shapes[odd[0]]}, expected {expected[odd[0]]}; expected the config that the "
            "model was saved with"
        )
    more = [name for name in stored if name not in expected and name != _LM_HEAD]
    if more:
        raise ModelError(
            f"{folder}: has weights that {config.model_type} has not, such as {more[0]}; expected "
            "a plain model of the kind that its config names"
        )


def _sizes(
    shape: DecoderShape, decoder: Decoder, config: Config
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The size of each weight."""
    dim, wide = config.whole("hidden_size", least=1), config.whole("intermediate_size", least=1)
    heads = shape.attention
    yield WORDS, (config.whole("vocab_size", least=1), dim)
    yield "norm.weight", (dim,)
    columns, keys = heads.heads * heads.size, heads.key_heads * heads.size
    outputs = dict(zip(_PROJECTIONS, (columns, keys, keys, dim), strict=True))
    for index in range(shape.layers):
        layer = f"layers.{index}."
        yield from (
            (f"{layer}{n}.weight", (dim,)) for n in ("input_layernorm", "post_attention_layernorm")
        )
        for name, out in outputs.items():
            read = columns if name == "o_proj" else dim
            yield f"{layer}self_attn.{name}.weight", (out, read)
        yield from ((f"{layer}mlp.{n}_proj.weight", (wide, dim)) for n in ("gate", "up"))
        yield f"{layer}mlp.down_proj.weight", (dim, wide)
        if decoder.norms_heads:
            yield from ((f"{layer}self_attn.{n}_norm.weight", (heads.size,)) for n in "qk")
        if decoder.has_biases:
            yield from ((f"{layer}self_attn.{n}_proj.bias", (outputs[f"{n}_proj"],)) for n in "qkv")
