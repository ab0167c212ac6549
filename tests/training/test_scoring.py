"""The loss is its formula written out, a query at a time, and moves logits the way that it says."""

import math
from dataclasses import fields, replace

import numpy as np
import pytest

from artifacts import random_weights
from resift.convert.late_interaction import late_arrays
from resift.convert.layers import EncoderShape
from resift.rerank.late_interaction import LateInteractionWeights
from resift.training.recipe import LossSpec

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch  # noqa: E402 - only where it is installed
from torch import Tensor  # noqa: E402

from resift.training.groups import DocumentBatch, Groups, pad  # noqa: E402
from resift.training.network import Network, TokenBatch  # noqa: E402
from resift.training.scoring import GroupLogits, accuracy, loss, score  # noqa: E402

QUERIES, WIDTH = 5, 6
SEEDS = range(8)
NOTHING = LossSpec(labels=0, labels_early=0, teacher=0, teacher_early=0)
PARTS = ("labels", "labels_early", "teacher", "teacher_early")
NO_ROWS = TokenBatch(*(torch.empty(0, 0) for _ in range(3)))


def only(*parts: str) -> LossSpec:
    return replace(NOTHING, **dict.fromkeys(parts, 1.0))


def drawn(seed: int, relevant: int = 1) -> Groups:
    """Groups with a relevant document first, some missing, and a teacher that knows some."""
    rng = np.random.default_rng(seed)
    labels, known = np.zeros((QUERIES, WIDTH), bool), rng.random((QUERIES, WIDTH)) < 0.7
    known[:, :3] = True
    labels[:, :relevant] = True
    teacher = rng.normal(0, 3, (QUERIES, WIDTH)).astype(np.float32)
    teacher[rng.random((QUERIES, WIDTH)) < 0.3] = np.nan
    teacher[0] = np.nan
    messages = rng.normal(size=(QUERIES, WIDTH)).astype(np.float32)
    messages[0] = 0
    terms = np.zeros((QUERIES, WIDTH), np.float32)
    arrays = (labels, teacher, messages, terms, known)
    return Groups(NO_ROWS, (), *(torch.from_numpy(entry) for entry in arrays))


def logits(seed: int) -> GroupLogits:
    generator = torch.Generator().manual_seed(seed)
    return GroupLogits(
        *(3 * torch.randn(QUERIES, WIDTH, generator=generator) for _ in fields(GroupLogits))
    )


def leaves(scored: GroupLogits) -> GroupLogits:
    return GroupLogits(
        *(getattr(scored, entry.name).clone().requires_grad_() for entry in fields(scored))
    )


def changed(scored: GroupLogits, where: Tensor, by: float) -> GroupLogits:
    """Both logits moved for some documents."""
    return replace(scored, final=scored.final + by * where, early=scored.early - by * where)


def log_softmax(values: list[float]) -> list[float]:
    total = math.log(sum(math.exp(value - max(values)) for value in values)) + max(values)
    return [value - total for value in values]


def labels_part(logits: Tensor, groups: Groups) -> float:
    """Minus the log probability of the first answer among itself and what is none, a mean."""
    total = 0.0
    for row, known, label in zip(logits, groups.present, groups.labels, strict=True):
        answer = label.tolist().index(True)
        others = [float(row[c]) for c in range(WIDTH) if known[c] and not label[c]]
        total -= log_softmax([float(row[answer]), *others])[0]
    return total / len(logits)


def teacher_part(logits: Tensor, groups: Groups) -> float:
    """Kullback-Leibler divergence from the teacher's probabilities, where it has any, a mean."""
    total = 0.0
    for row, known, teacher in zip(logits, groups.present, groups.teacher, strict=True):
        taught = [c for c in range(WIDTH) if known[c] and not torch.isnan(teacher[c])]
        if taught:
            entry = log_softmax([float(row[c]) for c in taught])
            target = log_softmax([float(teacher[c]) for c in taught])
            total += sum(math.exp(t) * (t - o) for t, o in zip(target, entry, strict=True))
    return total / len(logits)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("relevant", [1, 3])
def test_each_part_is_its_formula(relevant: int, seed: int) -> None:
    groups, scored = drawn(seed, relevant), logits(seed)
    expected = {
        "labels": labels_part(scored.final, groups),
        "labels_early": labels_part(scored.early, groups),
        "teacher": teacher_part(scored.final, groups),
        "teacher_early": teacher_part(scored.early, groups),
    }
    for part in PARTS:
        assert float(loss(scored, groups, only(part))) == pytest.approx(expected[part], abs=1e-4)
        assert expected[part] > 0.01


@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_is_the_weighted_sum_of_its_parts(seed: int) -> None:
    groups, scored = drawn(seed), logits(seed)
    weights = dict(zip(PARTS, (0.5, 2.0, 1.5, 0.25), strict=True))
    parts = {part: float(loss(scored, groups, only(part))) for part in PARTS}
    expected = sum(weights[part] * parts[part] for part in PARTS)
    result = float(loss(scored, groups, replace(NOTHING, **weights)))
    assert result == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_loss_falls_if_the_relevant_logit_rises(seed: int) -> None:
    groups, scored = drawn(seed), logits(seed)
    values = [
        float(
            loss(
                replace(scored, final=scored.final + rise * groups.labels),
                groups,
                only("labels"),
            )
        )
        for rise in (-4.0, -1.0, 0.0, 0.5, 3.0, 9.0)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > values[-1] + 1


@pytest.mark.parametrize("seed", SEEDS)
def test_other_relevant_documents_are_masked(seed: int) -> None:
    groups, scored = drawn(seed, relevant=3), leaves(logits(seed))
    others = groups.labels.clone()
    others[:, 0] = False
    spec = only("labels", "labels_early")
    value = loss(scored, groups, spec)
    moved = loss(changed(scored, others, 5.0), groups, spec)
    assert float(moved.detach()) == pytest.approx(float(value.detach()), abs=1e-6)
    torch.autograd.backward(value)
    for entry in (scored.final, scored.early):
        assert entry.grad is not None
        assert not entry.grad[others].any()
        assert (entry.grad[:, 0] < 0).all()  # the answer itself is pulled up


@pytest.mark.parametrize("seed", SEEDS)
def test_unknown_teacher_logits_are_masked(seed: int) -> None:
    groups, scored = drawn(seed), leaves(logits(seed))
    spec = only("teacher", "teacher_early")
    value = loss(scored, groups, spec)
    unknown = torch.isnan(groups.teacher)
    moved = loss(changed(scored, unknown, 4.0), groups, spec)
    assert float(moved.detach()) == pytest.approx(float(value.detach()), abs=1e-6)
    torch.autograd.backward(value)
    for entry in (scored.final, scored.early):
        assert entry.grad is not None
        assert entry.grad.isfinite().all() and entry.grad.any()
        assert not entry.grad[unknown].any()


def test_without_a_teacher_the_loss_is_that_of_the_labels() -> None:
    groups, scored = drawn(3), logits(3)
    silent = replace(groups, teacher=torch.full_like(groups.teacher, math.nan))
    labels = float(loss(scored, groups, only("labels", "labels_early")))
    assert float(loss(scored, silent, only(*PARTS))) == labels


@pytest.mark.parametrize("seed", SEEDS)
def test_a_student_that_equals_its_teacher_has_nothing_to_learn(seed: int) -> None:
    """Up to what is the same for all candidates of a query: a softmax does not see it."""
    groups = drawn(seed)
    shift = torch.arange(QUERIES)[:, None] - 2.0
    student = groups.teacher.nan_to_num(50.0) + shift
    scored = leaves(replace(logits(seed), final=student, early=student + 1))
    value = loss(scored, groups, only("teacher", "teacher_early"))
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    torch.autograd.backward(value)
    assert scored.final.grad is not None
    assert scored.final.grad.abs().max() < 1e-6
    worse = replace(scored, final=scored.final + torch.eye(QUERIES, WIDTH))
    assert float(loss(worse, groups, only("teacher")).detach()) > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_an_empty_column_has_no_gradient(seed: int) -> None:
    groups, scored = drawn(seed), leaves(logits(seed))
    assert not groups.present.all()
    value = loss(scored, groups, LossSpec())
    moved = loss(changed(scored, ~groups.present, 7.0), groups, LossSpec())
    assert float(moved.detach()) == pytest.approx(float(value.detach()), abs=1e-6)
    torch.autograd.backward(value)
    for entry in (scored.final, scored.early):
        assert entry.grad is not None
        assert not entry.grad[~groups.present].any()
        assert entry.grad[groups.present & ~torch.isnan(groups.teacher)].all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("relevant", [1, 3])
def test_accuracy_is_the_share_of_groups_with_a_relevant_document_first(
    relevant: int, seed: int
) -> None:
    groups, scored = drawn(seed, relevant), logits(seed)
    won = 0
    for row, known, label in zip(scored.final, groups.present, groups.labels, strict=True):
        best = max((c for c in range(WIDTH) if known[c]), key=lambda c: float(row[c]))
        won += bool(label[best])
    assert accuracy(scored, groups) == pytest.approx(won / QUERIES)
    assert accuracy(changed(scored, ~groups.present, 100.0), groups) == pytest.approx(won / QUERIES)
    assert accuracy(changed(scored, groups.labels, 100.0), groups) == 1.0


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("part", PARTS)
def test_first_stage_scores_are_added_to_both_logits_and_the_teacher(part: str, seed: int) -> None:
    groups, scored = drawn(seed), logits(seed)
    spec = replace(only(part), first_stage=0.7)
    messages = 0.7 * groups.first_stage
    there = GroupLogits(scored.final + messages, scored.early + messages)
    expected = loss(there, replace(groups, teacher=groups.teacher + messages), only(part))
    assert float(loss(scored, groups, spec)) == pytest.approx(float(expected), abs=1e-5)
    assert float(loss(scored, groups, only(part))) != pytest.approx(float(expected), abs=1e-4)


def rows_of(lengths: tuple[int, ...], seed: int) -> TokenBatch:
    rng = np.random.default_rng(seed)
    return pad([rng.integers(1, 50, length).astype(np.int32) for length in lengths])


def alone(rows: TokenBatch, row: int) -> TokenBatch:
    """One row without its padding."""
    read = rows.mask[row]
    return TokenBatch(*(entry[row][read][None] for entry in (rows.ids, rows.mask, rows.content)))


def made_network() -> Network:
    """One layer and one cross-attention layer."""
    weights = random_weights(layers=1)
    late = LateInteractionWeights(5.0, 2.0, 1.0, -3.0)
    return Network(weights | late_arrays(late), EncoderShape(1, 2, 1e-12, "gelu"), 1)


def made_groups() -> Groups:
    """Two queries of three documents, the last empty, in two chunks that mix the queries."""
    chunks = tuple(
        DocumentBatch(rows_of(lengths, seed), torch.tensor(indices) // 3, torch.tensor(indices))
        for seed, lengths, indices in ((2, (5, 6), [4, 0]), (3, (9, 12), [1, 3]))
    )
    known = torch.tensor([[True, True, False]] * 2)
    labels = torch.tensor([[True, False, False]] * 2)
    none = torch.zeros(2, 3)
    return Groups(rows_of((4, 7), 1), chunks, labels, none, none, none, known)


def test_each_logit_is_in_its_pairs_column() -> None:
    network, groups = made_network(), made_groups()
    with torch.inference_mode():
        result = score(network, groups)
        for chunk in groups.chunks:
            for row, position in enumerate(chunk.indices.tolist()):
                query, document = alone(groups.queries, position // 3), alone(chunk.rows, row)
                q, d = network.encode(query), network.encode(document)
                first = network.early(network.features(query, q[-1], document, d[-1]))
                early = float(first)
                final = early + float(network.residual(query, q, document, d, first))
                at = divmod(position, 3)
                assert float(result.early[at]) == pytest.approx(early, abs=1e-4)
                assert float(result.final[at]) == pytest.approx(final, abs=1e-4)
                assert abs(final - early) > 1e-3
    assert (result.final[~groups.present] < -1e3).all() and (
        result.early[~groups.present] < -1e3
    ).all()


def test_terms_are_added_to_both_logits() -> None:
    network, groups = made_network(), made_groups()
    terms = torch.tensor([[1.5, 0.25, 0.0], [0.0, 2.0, 0.0]])
    with torch.inference_mode():
        without, with_terms = (
            score(network, each) for each in (groups, replace(groups, terms=terms))
        )
    for name in ("early", "final"):
        added = getattr(with_terms, name) - getattr(without, name)
        assert torch.allclose(added[groups.present], terms[groups.present], atol=1e-5)


def test_a_step_teaches_every_part_of_the_network() -> None:
    network, groups = made_network(), made_groups()
    torch.autograd.backward(loss(score(network, groups), groups, LossSpec()))
    for name, entry in network.named_parameters():
        assert entry.grad is not None and entry.grad.isfinite().all(), name
        if name != "bias" and ".key.bias" not in name:  # a softmax does not see what all share
            assert entry.grad.any(), name
