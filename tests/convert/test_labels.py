"""The label that means relevance is named or stands to reason, and is never guessed.

The head's weights become those of one logit; whatever does not decide is refused in one line.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from resift.convert.labels import BIAS, KERNEL, with_relevance_logit
from resift.errors import InputError, ModelError

FOLDER = Path("some/model")
DIM = 8
STATE = np.random.default_rng(2).normal(0, 1, DIM).astype(np.float32)

Arrays = dict[str, NDArray[np.float32]]


def head(labels: int, *, bias: bool = True) -> Arrays:
    """A head of random weights, and a weight that is not the head's."""
    rng = np.random.default_rng(1)
    weights = {
        KERNEL: rng.normal(0, 1, (labels, DIM)).astype(np.float32),
        "other.weight": np.ones(3, np.float32),
    }
    return weights | ({BIAS: rng.normal(0, 1, labels).astype(np.float32)} if bias else {})


def outputs(weights: Arrays) -> NDArray[np.float32]:
    """What the head gives for `STATE`, one number a label."""
    result: NDArray[np.float32] = weights[KERNEL] @ STATE + weights.get(BIAS, np.float32(0))
    return result


def logit(weights: Arrays, names: Any = None, label: Any = None) -> float:
    """The one logit for `STATE`."""
    made = with_relevance_logit(weights, names, label, FOLDER)
    assert made[KERNEL].shape == (1, DIM)
    assert made[KERNEL].dtype == np.float32
    return float(outputs(made)[0])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("names", [None, {}, {"0": "LABEL_0"}, {0: "irrelevant"}])
def test_a_label_is_the_logit_whatever_it_is_called(names: Any, bias: bool) -> None:
    weights = head(1, bias=bias)
    made = with_relevance_logit(weights, names, None, FOLDER)
    np.testing.assert_array_equal(made[KERNEL], weights[KERNEL])
    assert (BIAS in made) == bias
    np.testing.assert_array_equal(outputs(made), outputs(weights))


NAMED = [
    (("irrelevant", "relevant"), 1),
    (("relevant", "irrelevant"), 0),
    (("Relevant", "Not relevant"), 0),
    (("not-relevant", "RELEVANT"), 1),
    (("yes", "no"), 0),
    (("False", "True"), 1),
    (("pos", "neg"), 0),
    (("1", "0"), 0),
    (("LABEL_0", "LABEL_1"), 1),
    (("LABEL_1", "LABEL_0"), 0),
    (("label 0", "Label1"), 1),
    (("something", "relevant"), 1),
    (("non-relevant", "something"), 1),
    ((" unrelated ", "match"), 1),
]


@pytest.mark.parametrize(("names", "relevant"), NAMED, ids=["-".join(names) for names, _ in NAMED])
def test_two_labels_become_the_relevant_less_the_other(
    names: tuple[str, str], relevant: int
) -> None:
    weights = head(2)
    labels = outputs(weights)
    expected = pytest.approx(labels[relevant] - labels[1 - relevant], abs=1e-5)
    assert logit(weights, dict(enumerate(names))) == expected
    assert logit(weights, {str(n): name for n, name in enumerate(names)}) == expected


@pytest.mark.parametrize("names", [None, {}, {"1": "LABEL_1"}])
def test_of_two_labels_without_names_the_second_means_relevance(names: Any) -> None:
    labels = outputs(head(2))
    assert logit(head(2), names) == pytest.approx(labels[1] - labels[0], abs=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    ("names", "relevant"),
    [
        (("contradiction", "entailment", "neutral"), 1),
        (("relevant", "partly", "irrelevant"), 0),
        (("a", "b", "c", "yes"), 3),
    ],
)
def test_of_several_labels_the_relevant_ones_logit_is_taken_alone(
    names: tuple[str, ...], relevant: int, bias: bool
) -> None:
    weights = head(len(names), bias=bias)
    expected = outputs(weights)[relevant]
    assert logit(weights, dict(enumerate(names))) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("names", "label", "relevant"),
    [
        (("bad", "fair", "good"), "good", 2),
        (("bad", "fair", "good"), 1, 1),
        (("bad", "fair", "good"), 0, 0),
        (None, 2, 2),
        (None, "label_2", 2),
        (("yes", "no", "maybe"), "no", 1),
    ],
)
def test_the_caller_names_a_label_by_name_or_number(
    names: tuple[str, ...] | None, label: str | int, relevant: int
) -> None:
    weights = head(3)
    expected = outputs(weights)[relevant]
    assert logit(weights, names and dict(enumerate(names)), label) == pytest.approx(expected)


@pytest.mark.parametrize(("label", "relevant"), [("yes", 0), ("no", 1), (0, 0), (1, 1)])
def test_the_callers_label_goes_before_the_names(label: str | int, relevant: int) -> None:
    labels = outputs(head(2))
    expected = labels[relevant] - labels[1 - relevant]
    assert logit(head(2), {0: "yes", 1: "no"}, label) == pytest.approx(expected, abs=1e-5)


def test_the_caller_may_name_the_only_label() -> None:
    assert logit(head(1), {0: "score"}, "score") == logit(head(1), None, 0) == logit(head(1))


@pytest.mark.parametrize("label", ["", "Good", "3", 3, -1, True, False, 1.0])
def test_a_label_that_the_model_does_not_have_is_the_callers_error(label: Any) -> None:
    with pytest.raises(InputError) as caught:
        with_relevance_logit(head(3), {0: "bad", 1: "fair", 2: "good"}, label, FOLDER)
    assert str(caught.value) == (
        f"label={label!r}: some/model has the labels bad, fair, good; name one of them, or its "
        "number from 0 to 2"
    )


def test_the_only_label_has_no_range_of_numbers() -> None:
    with pytest.raises(InputError) as caught:
        with_relevance_logit(head(1), {0: "good"}, "bad", FOLDER)
    assert str(caught.value) == ("label='bad': some/model has only the label good; leave it out")


def test_many_and_long_labels_are_shortened() -> None:
    names = {number: f"class {number}" for number in range(1_000)} | {1: "long" * 1_000}
    with pytest.raises(InputError, match="and 988 more; name one of them, or its number from 0 t"):
        with_relevance_logit(head(1_000), names, "other", FOLDER)
    with pytest.raises(ModelError, match="'class 11' and 988 more do not decide") as caught:
        with_relevance_logit(head(1_000), names, None, FOLDER)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    "names",
    [
        ("contradiction", "neutral"),
        ("yes", "relevant"),
        ("no", "irrelevant"),
        ("a", "b"),
        ("LABEL_0", "b"),
        ("LABEL_0", "LABEL_0"),
        ("LABEL_3", "LABEL_4"),
        ("LABEL_0", "LABEL_1", "LABEL_2"),
        ("yes", "true", "no"),
        ("bad", "fair", "good"),
        ("irrelevant", "no", "something"),
    ],
)
def test_names_that_do_not_decide_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(ModelError) as caught:
        with_relevance_logit(head(len(names)), dict(enumerate(names)), None, FOLDER)
    assert str(caught.value) == (
        f"some/model: labels {', '.join(map(repr, names))} do not decide which one means "
        "relevance; name it: label=… in Python, --label … on the command line"
    )


@pytest.mark.parametrize("names", [{"zero": "no"}, {None: "no"}, ["no", "yes"], 5])
def test_names_that_are_not_by_number_are_refused(names: Any) -> None:
    with pytest.raises(ModelError, match="expected names of labels by number") as caught:
        with_relevance_logit(head(2), names, None, FOLDER)
    assert str(caught.value).startswith("some/model: id2label ")
    assert "\n" not in str(caught.value)


def test_a_model_without_a_head_is_no_reranker() -> None:
    with pytest.raises(ModelError, match="has no head that scores a pair; expected a reranker"):
        with_relevance_logit({"other.weight": np.ones(3, np.float32)}, None, None, FOLDER)


def test_other_weights_and_the_callers_are_left_alone() -> None:
    weights = head(2)
    before = {name: value.copy() for name, value in weights.items()}
    made = with_relevance_logit(weights, None, None, FOLDER)
    assert made["other.weight"] is weights["other.weight"]
    assert weights.keys() == before.keys()
    for name, value in before.items():
        np.testing.assert_array_equal(weights[name], value)
