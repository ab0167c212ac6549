"""Causal rerankers as transformers saves them keep their logits, and read what their authors read.

The reference runs the whole prompt of each pair, and the vocabulary's whole product, in
transformers; ids are made as in the authors' own code.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from convert.causal_checkpoints import (
    CHAT_TEMPLATE,
    FAMILIES,
    byte_tokenizer,
    causal_config,
    write_causal,
    write_logit_score,
)
from convert.plain_checkpoints import edit_json
from resift.convert.causal import STAGE
from resift.convert.causal_checkpoint import CausalCheckpoint, read_causal
from resift.convert.causal_graph import write_graph
from resift.convert.causal_products import Float32, Int8
from resift.convert.chat_template import prompt_texts
from resift.rerank.batching import schedule
from resift.rerank.causal import CausalModel
from resift.rerank.causal_tokens import PromptTokens
from resift.rerank.models import Batch
from resift.rerank.runtimes import open_session
from resift.rerank.tokenization import load_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]

TOLERANCE = 1e-3
QUERIES = ("where did the cat sit?", "Which river runs, and where", "no")
DOCUMENTS = (
    "the cat sat on the mat",
    "1 dog",
    "?! what",
    "\nthe dogs ran over the hill to the river. " * 3,
    "a",
    "Ünïcode 漢字 <|im_end|> yes",
    "the morning light " * 20,
)

Pairs = Sequence[tuple[str, str]]
PAIRS: Pairs = [(query, document) for query in QUERIES for document in DOCUMENTS]


def make_checkpoint(folder: Path, family: str, *, tied: bool = True, **changes: Any) -> Path:
    """A random model that transformers saves, with the tiny tokenizer."""
    torch.manual_seed(5)
    tokenizer = byte_tokenizer()
    config = causal_config(family, tokenizer.get_vocab_size(), tied=tied) | changes
    del config["architectures"], config["model_type"]
    auto: Any = transformers.AutoConfig
    model = transformers.AutoModelForCausalLM.from_config(auto.for_model(family, **config))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            norm = name.endswith("norm.weight")
            centre = float(norm and family != "gemma")
            parameter.normal_(centre, 0.2)
    model.save_pretrained(folder)
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def graph_logits(
    source: CausalCheckpoint, pairs: Pairs, folder: Path, runtime: str, products: Any = None
) -> NDArray[np.float32]:
    """The logits of the graph, by way of the prefix's keys and values."""
    write_graph(
        folder / STAGE, source.weights, source.shape, source.max_tokens, products or Float32()
    )
    model = CausalModel(tokens_of(source, folder), open_session(folder / STAGE, runtime))
    logits = np.empty(len(pairs), np.float32)
    for query in dict.fromkeys(query for query, _ in pairs):
        head = model.query_row(query)
        states = model.query_states(head)
        indices = [index for index, pair in enumerate(pairs) if pair[0] == query]
        rows = model.rows(head, [pairs[index][1] for index in indices])
        for group in schedule([len(row.ids) for row in rows]):
            batch = Batch([rows[row] for row in group.rows], [states] * len(group.rows))
            logits[np.array(indices)[group.rows]] = model.stages[0](batch)[1]
    return logits


def tokens_of(source: CausalCheckpoint, folder: Path) -> PromptTokens:
    source.tokenizer.tokenizer.save(str(folder / "tokenizer.json"))
    return PromptTokens(load_tokenizer(folder / "tokenizer.json"), source.max_tokens, source.prompt)


def transformers_logits(
    checkpoint: Path, rows: Sequence[Sequence[int]], yes: int, no: int | None
) -> NDArray[np.float32]:
    """The logit of each row of ids by transformers, one at a time."""
    model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, dtype=torch.float32)
    logits = []
    with torch.inference_mode():
        for ids in rows:
            last = model(torch.tensor([list(ids)])).logits[0, -1]
            logits.append(float(last[yes] - (0 if no is None else last[no])))
    return np.array(logits, np.float32)


def whole_rows(source: CausalCheckpoint, pairs: Pairs, folder: Path) -> list[list[int]]:
    """The ids that the model reads of each pair, prefix included."""
    tokens = tokens_of(source, folder)
    rows = []
    for query, document in pairs:
        head = tokens.head(query)
        (row,) = tokens.pairs(head, [document])
        rows.append([*head.ids.tolist(), *row.ids.tolist()])
    return rows


def authors_ids(family: str, query: str, document: str) -> list[int]:
    """The ids of a pair by the code in the authors' model cards and packages."""
    tokenizer = byte_tokenizer()

    def ids(text: str, special: bool = False) -> list[int]:
        tokenizer.encode_special_tokens = not special
        encoded: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return encoded

    if family == "qwen3":
        prefix = (
            "<|im_start|>system\nJudge whether the Document meets the requirements based on the "
            'Query and the Instruct provided. Note that the answer can only be "yes" or "no".'
            "<|im_end|>\n<|im_start|>user\n"
        )
        suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
        pair = (
            "<Instruct>: Given a web search query, retrieve relevant passages that answer the "
            f"query\n<Query>: {query}\n<Document>: {document}"
        )
        return [*ids(prefix, True), *ids(pair), *ids(suffix, True)]
    if family == "qwen2":
        prefix = (
            "<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful "
            "assistant.<|im_end|>\n<|im_start|>user\n"
        )
        task = (
            "You are a search relevance expert who evaluates how well documents match search "
            "queries. For each query-document pair, carefully analyze the semantic relationship "
            "between them, then provide your binary relevance judgment (0 for not relevant, 1 for "
            "relevant).\nRelevance:"
        )
        suffix = "<|im_end|>\n<|im_start|>assistant\n"
        texts = [f"query: {query}", "\n", f"document: {document}", "\n", task]
        middle = [number for text in texts for number in ids(text)]
        return [*ids(prefix, True), *middle, *ids(suffix, True)]
    prompt = (
        "Given a query A and a passage B, determine whether the passage contains an answer to the "
        "query by providing a prediction of either 'Yes' or 'No'."
    )
    texts = [f"A: {query}", "\n", f"B: {document}", "\n", prompt]
    return [0, *(number for text in texts for number in ids(text))]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("tied", [True, False])
def test_logits_agree_with_transformers(
    family: str, tied: bool, tmp_path: Path, runtime: str
) -> None:
    checkpoint = make_checkpoint(tmp_path / "checkpoint", family, tied=tied)
    source = read_causal(checkpoint)
    rows = whole_rows(source, PAIRS, tmp_path)
    assert rows == [authors_ids(family, *pair) for pair in PAIRS]
    words = {"qwen3": ("yes", "no"), "qwen2": ("1", "0"), "gemma": ("Yes", None)}[family]
    tokenizer = byte_tokenizer()
    yes, no = (None if word is None else tokenizer.token_to_id(word) for word in words)
    assert yes is not None
    expected = transformers_logits(checkpoint, rows, yes, no)
    logits = graph_logits(source, PAIRS, tmp_path, runtime)
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 100 * TOLERANCE
    rounded = graph_logits(source, PAIRS, tmp_path, runtime, Int8())
    assert np.corrcoef(rounded, expected)[0, 1] > 0.99
    assert np.abs(rounded - expected).max() > TOLERANCE  # it is another model


@pytest.mark.parametrize("family", FAMILIES)
def test_files_written_by_hand_are_those_of_transformers(family: str, tmp_path: Path) -> None:
    """Names and sizes of the plain checkpoints, which other tests use without torch."""
    checkpoint = write_causal(tmp_path, family, tied=False)
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        checkpoint, output_loading_info=True
    )
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    assert model.config.model_type == family


@pytest.mark.parametrize("instruction", ["", "Find what helps"])
def test_scores_agree_with_sentence_transformers(instruction: str, tmp_path: Path) -> None:
    """Prompt, instruction and tokens that answer come from the checkpoint's own files."""
    sentence_transformers = pytest.importorskip("sentence_transformers")
    checkpoint = make_checkpoint(tmp_path / "checkpoint", "qwen3")
    tokenizer = byte_tokenizer()
    wrapped = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    wrapped.save_pretrained(checkpoint)
    yes, no = tokenizer.token_to_id("yes"), tokenizer.token_to_id("no")
    modules = [
        sentence_transformers.base.modules.Transformer(
            str(checkpoint),
            transformer_task="text-generation",
            processor_kwargs={"chat_template": CHAT_TEMPLATE},
        ),
        sentence_transformers.cross_encoder.modules.LogitScore(yes, no),
    ]
    prompts = {"own": instruction} if instruction else {}
    reference = sentence_transformers.CrossEncoder(
        modules=modules, prompts=prompts, default_prompt_name="own" if instruction else None
    )
    folder = tmp_path / "saved"
    reference.save_pretrained(str(folder))
    pairs = [pair for pair in PAIRS if "<|im_end|>" not in pair[1]]  # there it ends the document
    expected = reference.predict(pairs, activation_fn=torch.nn.Identity(), batch_size=1)
    source = read_causal(folder)
    logits = graph_logits(source, pairs, tmp_path, "openvino")
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE, rtol=0)
    assert np.ptp(expected) > 100 * TOLERANCE


TEMPLATES = {
    "published": CHAT_TEMPLATE,
    "members": (
        'A: {{ (messages | selectattr("role", "eq", "query") | first).content }}\n'
        "B: {{ (messages | selectattr('role', 'eq', 'document') | first)['content'] }}\nGiven"
    ),
    "blocks": (
        "{% set q = messages | selectattr('role', 'eq', 'query') | map(attribute='content') "
        "| first %}\n  {% set x = 'a\\nb' %}\nQ {{ x }}{{- q -}}  \n{# note #}\n"
        "D {{ messages | selectattr('role','eq','document')\n | map(attribute='content') "
        "| first }} \n "
    ),
    "middle of a line": (
        "a {% set x = 'b' %} c {{ x }} {% set y = x %}\n"
        "{{ (messages | selectattr('role', 'eq', 'query') | first).content }} {# #}\n  d"
        "{{ (messages | selectattr('role', 'eq', 'document') | first).content }}\n\n"
    ),
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
@pytest.mark.parametrize("instruction", ["", "Own"])
def test_templates_are_read_as_jinja_renders_them(template: str, instruction: str) -> None:
    sandbox = pytest.importorskip("jinja2.sandbox")
    environment = sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    messages = [{"role": "query", "content": "<<q>>"}, {"role": "document", "content": "<<d>>"}]
    if instruction:
        messages.insert(0, {"role": "system", "content": instruction})
    rendered = environment.from_string(template).render(messages=messages)
    texts = prompt_texts(template, instruction)
    assert texts is not None
    assert f"{texts.before}<<q>>{texts.between}<<d>>{texts.after}" == rendered


def test_older_and_newer_settings_of_rotary_positions_agree(tmp_path: Path) -> None:
    older = write_causal(tmp_path / "older", rope_theta=5000.0)
    newer = write_causal(
        tmp_path / "newer",
        rope_theta=None,
        rope_parameters={"rope_theta": 5000.0, "rope_type": "default"},
    )
    assert read_causal(older).shape == read_causal(newer).shape
    edit_json(newer / "config.json", rope_parameters={"rope_theta": 6000.0})
    assert read_causal(older).shape != read_causal(newer).shape
    write_logit_score(older, 3, None)
    assert read_causal(older).prompt.suffix
