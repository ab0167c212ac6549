"""The graph of term matching computes what transformers computes; other checkpoints are refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from resift.convert.terms import SHAPE, StoredTerms, _is_english, read_term_model
from resift.errors import ModelError
from resift.rerank.artifact import TERM_FILES, TOKENIZER
from resift.rerank.terms import TermEncoder
from resift.rerank.tokenization import TokenRow, Tokens, load_tokenizer, pad
from split_artifacts import WORDS, term_model, write_tokenizer

DIM = 32
TEXTS = [" ".join(WORDS[start : start + length]) for start, length in ((0, 1), (7, 30), (50, 12))]


def rows_of(folder: Path) -> list[TokenRow]:
    return Tokens(load_tokenizer(folder / TOKENIZER), 64).single(TEXTS)


def opened(folder: Path, runtime: str) -> TermEncoder:
    return TermEncoder.open([folder / name for name in TERM_FILES], runtime)


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BertForMaskedLM as transformers saves it, with random weights."""
    torch, transformers = (pytest.importorskip(name) for name in ("torch", "transformers"))
    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("checkpoint")
    config = transformers.BertConfig(
        vocab_size=4 + len(WORDS), hidden_size=DIM, num_hidden_layers=SHAPE.layers,
        num_attention_heads=SHAPE.heads, intermediate_size=64, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.BertForMaskedLM(config)
    for parameter in model.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    model.save_pretrained(folder)
    write_tokenizer(folder / TOKENIZER)
    return folder


@pytest.mark.torch
def test_weights_of_terms_are_those_of_transformers(
    checkpoint: Path, tmp_path: Path, runtime: str
) -> None:
    import torch
    from transformers import BertForMaskedLM

    terms = read_term_model(checkpoint, checkpoint / TOKENIZER, 64)
    terms.write_float32(tmp_path)
    reference: Any = BertForMaskedLM.from_pretrained(checkpoint)
    reference = reference.eval()
    rounded = torch.from_numpy(terms.weights["embeddings.word_embeddings.weight"])
    reference.bert.embeddings.word_embeddings.weight.data.copy_(rounded)  # also the output layer
    encoder = opened(tmp_path, runtime)
    query, *documents = rows_of(checkpoint)
    of_query = encoder.of_query(query)
    with torch.inference_mode():
        sparse = [
            torch.log1p(torch.relu(reference(torch.from_numpy(row.ids[None])).logits[0]))
            .amax(0)
            .numpy()
            for row in (query, *documents)
        ]
    strongest = np.argsort(-sparse[0], kind="stable")[: len(of_query.shares)]
    shares = sparse[0][strongest] / sparse[0][strongest].sum()
    assert np.allclose(of_query.shares, shares, atol=1e-3)
    for row, expected in zip(documents, sparse[1:], strict=True):
        states = encoder.exact(encoder.states(pad([row]))[0][: len(row.ids)])
        wanted = shares @ expected[strongest]
        assert of_query.feature(states) == pytest.approx(wanted, abs=5e-3)  # float16 states
        assert wanted > 0.1


def test_int8_states_are_near_those_in_float32(tmp_path: Path, runtime: str) -> None:
    exact, rounded = tmp_path / "exact", tmp_path / "int8"
    for folder in (exact, rounded):
        folder.mkdir()
        write_tokenizer(folder / TOKENIZER)
    rows = rows_of(exact)
    terms = term_model()
    assert terms.write_float32(exact).scales is None
    columns = terms.write_int8(exact, rounded, rows)
    assert columns.scales is not None and columns.scales.shape == (DIM,)
    float32, int8 = opened(exact, runtime), opened(rounded, runtime)
    for row in rows:
        of_row = [each.states(pad([row]))[0][: len(row.ids)] for each in (int8, float32)]
        assert of_row[0].dtype == np.int8
        near, right = int8.exact(of_row[0]), float32.exact(of_row[1])
        assert np.corrcoef(near.ravel(), right.ravel())[0, 1] > 0.99  # random weights


def test_stored_terms_are_taken_over_to_the_byte(tmp_path: Path) -> None:
    for name in ("from", "exact", "to"):
        (tmp_path / name).mkdir()
    write_tokenizer(tmp_path / "from" / TOKENIZER)
    rows = rows_of(tmp_path / "from")
    terms = term_model()
    terms.write_float32(tmp_path / "exact")
    columns = terms.write_int8(tmp_path / "exact", tmp_path / "from", rows)
    stored = StoredTerms(tmp_path / "from")
    stored.write_float32(tmp_path / "exact")
    again = stored.write_int8(tmp_path / "exact", tmp_path / "to", rows)
    assert again.scales is not None and columns.scales is not None
    assert np.array_equal(again.scales, columns.scales)
    for name in TERM_FILES:
        assert (tmp_path / "to" / name).read_bytes() == (tmp_path / "from" / name).read_bytes()


@pytest.mark.torch
@pytest.mark.parametrize("fault", ["without the output's biases", "a third layer", "one layer"])
def test_a_checkpoint_of_another_form_is_refused(
    checkpoint: Path, tmp_path: Path, fault: str
) -> None:
    weights = load_file(checkpoint / "model.safetensors")
    if fault == "a third layer":
        weights |= {
            name.replace("layer.1", "layer.2"): value
            for name, value in weights.items()
            if "layer.1" in name
        }
    else:
        part = "predictions.bias" if "biases" in fault else "layer.1."
        weights = {name: value for name, value in weights.items() if part not in name}
    save_file(weights, tmp_path / "model.safetensors")
    write_tokenizer(tmp_path / TOKENIZER)
    with pytest.raises(ModelError, match="expected a BERT of 2 layers"):
        read_term_model(tmp_path, tmp_path / TOKENIZER, 64)


@pytest.mark.torch
def test_a_checkpoint_that_does_not_fit_the_base_is_refused(
    checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match="reads 64 tokens, expected 128 or more"):
        read_term_model(checkpoint, checkpoint / TOKENIZER, 128)
    tokenizer = load_tokenizer(checkpoint / TOKENIZER)
    tokenizer.add_tokens(["another"])
    tokenizer.save(str(tmp_path / TOKENIZER))
    with pytest.raises(ModelError, match="another vocabulary"):
        read_term_model(checkpoint, tmp_path / TOKENIZER, 64)


def test_terms_that_no_english_text_has_are_left_out(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(write_tokenizer(tmp_path / TOKENIZER))
    tokenizer.add_tokens(["[unused7]", "köln", "日"])
    used = _is_english(tokenizer.get_vocab_size(), tokenizer)
    assert used.tolist() == [1] * (4 + len(WORDS)) + [0] * 3
