"""The network in torch computes what the graphs and late interaction compute, and starts neutral.

Weights are tiny and random; what is compared is the encoder alone, and the cross-attention layers.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from artifacts import random_weights
from resift.convert.late_interaction import late_arrays
from resift.convert.late_interaction_graph import CONTENT, cross_attention_graph
from resift.convert.layers import EncoderShape
from resift.convert.stages import encoder_graph
from resift.errors import ResiftError
from resift.rerank.late_interaction import LateInteractionWeights, features, query_states
from resift.rerank.runtimes import Session, open_session

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch  # noqa: E402 - only where it is installed
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from resift.training.groups import pad  # noqa: E402
from resift.training.network import SHARE, Network, TokenBatch  # noqa: E402

LAYERS, CROSS_ATTENTION, VOCABULARY, DIM = 2, 2, 50, 32
SHAPE = EncoderShape(LAYERS, heads=2, epsilon=1e-12, activation="gelu")
LATE = LateInteractionWeights(12.0, 1.5, 2.5, -8.0)
QUERIES, DOCUMENTS = (3, 9, 5, 6), (12, 4, 30, 17)

Weights = dict[str, NDArray[np.float32]]


def encoder_weights(seed: int = 7) -> Weights:
    weights = random_weights(LAYERS, seed)
    for name, size in (("word", VOCABULARY), ("position", 64)):
        weights[f"embeddings.{name}_embeddings.weight"] = weights[
            f"embeddings.{name}_embeddings.weight"
        ][:size]
    return weights


def trained_weights() -> Weights:
    """The encoder, cross-attention layers of their own, and a share that is not the start's."""
    layers = {
        name.replace("encoder.", "cross_attention."): value
        for name, value in random_weights(CROSS_ATTENTION, seed=8).items()
        if name.startswith("encoder.")
    }
    return encoder_weights() | layers | {"cross_attention.share": np.array(0.8, np.float32)}


@pytest.fixture(scope="module")
def trained() -> Network:
    return Network(trained_weights() | late_arrays(LATE), SHAPE, CROSS_ATTENTION)


@pytest.fixture(scope="module")
def untrained() -> Network:
    return Network(encoder_weights() | late_arrays(LATE), SHAPE, CROSS_ATTENTION)


def exported(network: Network) -> Weights:
    """As `training.bundle` takes weights out."""
    return {name: value.numpy() for name, value in network.state_dict().items()}


def drawn(lengths: tuple[int, ...], seed: int) -> TokenBatch:
    """Random rows of these lengths, padded together."""
    rng = np.random.default_rng(seed)
    return pad([rng.integers(1, VOCABULARY, length).astype(np.int32) for length in lengths])


def longer(rows: TokenBatch, more: int) -> TokenBatch:
    """The same rows with more padding, and words in it that must not be read."""
    ids = F.pad(rows.ids, (0, more), value=3).masked_fill(~F.pad(rows.mask, (0, more)), 3)
    return TokenBatch(ids, F.pad(rows.mask, (0, more)), F.pad(rows.content, (0, more)))


def some(rows: TokenBatch, indices: slice) -> TokenBatch:
    return TokenBatch(rows.ids[indices], rows.mask[indices], rows.content[indices])


def meet(network: Network, query: TokenBatch, documents: TokenBatch) -> tuple[Tensor, Tensor]:
    """Features and residual of row by row pairs."""
    with torch.inference_mode():
        q, d = network.encode(query), network.encode(documents)
        result = network.features(query, q[-1], documents, d[-1])
        return result, network.residual(query, q, documents, d, network.early(result))


def opened(folder: Path, model: onnx.ModelProto, runtime: str) -> Session:
    onnx.save(model, str(folder / "model.onnx"))
    return open_session(folder / "model.onnx", runtime)


def integers(values: Tensor) -> NDArray[np.int64]:
    result: NDArray[np.int64] = values.numpy().astype(np.int64)
    return result


def test_states_are_those_of_the_encoders_graph(
    untrained: Network, runtime: str, tmp_path: Path
) -> None:
    session = opened(
        tmp_path,
        encoder_graph(exported(untrained), SHAPE, cross_attention_layers=CROSS_ATTENTION),
        runtime,
    )
    rows = drawn(DOCUMENTS, 2)
    feeds = {
        "input_ids": integers(rows.ids),
        "attention_mask": integers(rows.mask),
        "token_type_ids": np.zeros(rows.ids.shape, np.int64),
    }
    with torch.inference_mode():
        result = untrained.encode(rows)
    expected = session.run(feeds)
    read = rows.mask.numpy()
    for entry, name in ((result[-1], "states"), (torch.cat(result, 2), "layers")):
        np.testing.assert_allclose(entry.numpy()[read], expected[name][read], atol=1e-4, rtol=0)
    assert len(result) == CROSS_ATTENTION + 1 and np.ptp(expected["states"][read]) > 1
    assert np.abs(result[0].numpy() - result[-1].numpy())[read].mean() > 0.1


def test_features_are_those_of_late_interaction(trained: Network) -> None:
    query, documents = drawn(QUERIES, 3), drawn(DOCUMENTS, 4)
    result, _ = meet(trained, query, documents)
    with torch.inference_mode():
        q, d = trained.encode(query)[-1].numpy(), trained.encode(documents)[-1].numpy()
    for row, (requested, read) in enumerate(zip(QUERIES, DOCUMENTS, strict=True)):
        entry, mask = d[row : row + 1], integers(documents.mask[row : row + 1])
        expected = features(query_states(q[row, :requested]), entry, mask)[0]
        assert mask.sum() == read
        np.testing.assert_allclose(result[row].numpy(), expected, atol=1e-5, rtol=0)
    assert np.ptp(result.numpy(), axis=0).min() > 1e-2


def test_the_early_logit_is_the_weighted_sum_of_features(trained: Network) -> None:
    result, _ = meet(trained, drawn(QUERIES, 3), drawn(DOCUMENTS, 4))
    with torch.inference_mode():
        early = trained.early(result).numpy()
    np.testing.assert_allclose(early, LATE.logits(result.numpy()), atol=1e-5, rtol=0)


def test_the_residual_is_that_of_the_cross_attention_graph(
    trained: Network, runtime: str, tmp_path: Path
) -> None:
    session = opened(tmp_path, cross_attention_graph(exported(trained), SHAPE), runtime)
    query, documents = drawn(QUERIES, 3), drawn(DOCUMENTS, 4)
    with torch.inference_mode():
        q, d = (torch.cat(trained.encode(rows), 2).numpy() for rows in (query, documents))
        features, result = meet(trained, query, documents)
        early = trained.early(features).numpy()
    feeds = {
        "query_states": q,
        "query_mask": integers(query.mask),
        "query_own": integers(query.content),
        "states": d,
        "attention_mask": integers(documents.mask),
        CONTENT: integers(documents.content),
        "logits": early,
    }
    expected = session.run(feeds)["residual"]
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-4, rtol=0)
    assert np.ptp(expected) > 0.1


def test_untrained_cross_attention_changes_the_logit_by_its_share(
    untrained: Network,
) -> None:
    query, documents = drawn(QUERIES, 3), drawn(DOCUMENTS, 4)
    result, residual = meet(untrained, query, documents)
    with torch.inference_mode():
        q, d = untrained.encode(query), untrained.encode(documents)
        mask = torch.cat([query.mask, documents.mask], 1)
        x = q[0]
        for layer, entry in zip(untrained.encoder["layer"][-CROSS_ATTENTION:], d[:-1], strict=True):
            x = layer(x, torch.cat([x, entry], 1), mask)
        change = untrained.early(untrained.features(query, x, documents, d[-1]) - result)
        expected = SHARE * (change - untrained.bias)
    np.testing.assert_allclose(residual.numpy(), expected.numpy(), atol=1e-5, rtol=0)
    assert residual.abs().min() > 1e-3


def test_a_document_that_is_not_attended_to_changes_nothing(untrained: Network) -> None:
    """Read over no document, the query's last layers are the encoder's own."""
    query, documents = drawn(QUERIES, 3), drawn(DOCUMENTS, 4)
    nothing = replace(documents, mask=torch.zeros_like(documents.mask))
    with torch.inference_mode():
        q, d = untrained.encode(query), untrained.encode(documents)
        early = untrained.early(untrained.features(query, q[-1], nothing, d[-1]))
        residual = untrained.residual(query, q, nothing, d, early)
    np.testing.assert_allclose(residual.numpy(), 0, atol=1e-4, rtol=0)


@pytest.mark.parametrize("layers", [1, 2])
def test_cross_attention_layers_start_as_the_encoders_last_ones(layers: int) -> None:
    weights = encoder_weights()
    entry = exported(Network(weights | late_arrays(LATE), SHAPE, layers))
    copied = {name for name in entry if name.startswith("cross_attention.layer.")}
    assert len({name.split(".")[2] for name in copied}) == layers
    for name in copied:
        _, _, index, rest = name.split(".", 3)
        last = f"encoder.layer.{LAYERS - layers + int(index)}.{rest}"
        np.testing.assert_array_equal(entry[name], weights[last])


def test_weights_survive_a_round_trip(trained: Network) -> None:
    entry = exported(trained)
    given = {name: v for name, v in trained_weights().items() if not name.startswith("head.")}
    assert set(entry) == set(given) | {"late", "bias"}
    for name, value in given.items():
        np.testing.assert_array_equal(entry[name], value)
    again = exported(Network(entry, SHAPE, CROSS_ATTENTION))
    for name, value in entry.items():
        np.testing.assert_array_equal(again[name], value)


@pytest.mark.parametrize("more", [1, 16])
@pytest.mark.parametrize("side", ["query", "document"])
def test_padding_changes_nothing(side: str, more: int, trained: Network) -> None:
    query, documents = drawn(QUERIES, 3), drawn(DOCUMENTS, 4)
    expected = meet(trained, query, documents)
    if side == "query":
        query = longer(query, more)
    else:
        documents = longer(documents, more)
    for result, entry in zip(meet(trained, query, documents), expected, strict=True):
        np.testing.assert_allclose(result.numpy(), entry.numpy(), atol=1e-5, rtol=0)


def test_a_pair_is_the_same_alone_and_among_others(trained: Network) -> None:
    query, documents = drawn(QUERIES, 3), drawn(DOCUMENTS, 4)
    together = meet(trained, query, documents)
    for row in range(len(QUERIES)):
        position = slice(row, row + 1)
        alone = meet(trained, some(query, position), some(documents, position))
        for result, entry in zip(alone, together, strict=True):
            np.testing.assert_allclose(result[0].numpy(), entry[row].numpy(), atol=1e-5, rtol=0)


def test_document_states_never_depend_on_the_query(trained: Network) -> None:
    """The states of a document computed beside one query serve any other."""
    documents = drawn(DOCUMENTS, 4)
    with torch.inference_mode():
        retained = trained.encode(documents)
        for seed in (5, 6):
            query = drawn(QUERIES, seed)
            width = max(query.ids.shape[1], documents.ids.shape[1])
            rows = [longer(entry, width - entry.ids.shape[1]) for entry in (query, documents)]
            parts = [
                torch.cat([getattr(entry, name) for entry in rows])
                for name in ("ids", "mask", "content")
            ]
            together = trained.encode(TokenBatch(*parts))
            read = documents.mask
            for whole, entry in zip(together, retained, strict=True):
                beside = whole[len(QUERIES) :, : entry.shape[1]]
                np.testing.assert_allclose(beside[read], entry[read], atol=1e-5, rtol=0)
            features, expected = meet(trained, query, documents)
            q = trained.encode(query)
            result = trained.residual(query, q, documents, retained, trained.early(features))
            np.testing.assert_array_equal(result, expected)


def test_the_residual_does_depend_on_both(trained: Network) -> None:
    residuals = [
        meet(trained, drawn(QUERIES, query), drawn(DOCUMENTS, document))[1]
        for query, document in ((3, 4), (5, 4), (3, 6))
    ]
    for other in residuals[1:]:
        assert (other - residuals[0]).abs().min() > 1e-3


@pytest.mark.parametrize("part", ["features", "early"])
def test_scores_keep_float32_beside_bfloat16_layers(part: str, trained: Network) -> None:
    query, documents = drawn(QUERIES, 3), drawn(DOCUMENTS, 4)
    expected, _ = meet(trained, query, documents)
    with torch.inference_mode():
        q, d = trained.encode(query)[-1], trained.encode(documents)[-1]
        with torch.autocast("cpu", torch.bfloat16):
            result = trained.features(query, q, documents, d)
            early = trained.early(expected)
        if part == "early":
            result, expected = early, trained.early(expected)
    np.testing.assert_allclose(result.float().numpy(), expected.numpy(), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "shape", [replace(SHAPE, activation="relu"), replace(SHAPE, first_position=2)]
)
def test_a_shape_that_it_does_not_compute_is_refused(shape: EncoderShape) -> None:
    with pytest.raises(ResiftError):
        Network(encoder_weights() | late_arrays(LATE), shape, CROSS_ATTENTION)


@pytest.mark.parametrize("fault", ["a weight is missing", "more than the encoder has"])
def test_weights_that_are_not_there_are_refused(fault: str) -> None:
    weights = encoder_weights()
    if fault == "a weight is missing":
        del weights["encoder.layer.0.output.dense.bias"]
    with pytest.raises((ResiftError, KeyError)):
        Network(
            weights | late_arrays(LATE),
            SHAPE,
            LAYERS + 1 if fault.startswith("more") else CROSS_ATTENTION,
        )
