"""A run that is killed goes on where it was and ends as if nothing had happened, or at its best.

Killed runs are processes of their own, ended by SIGKILL from inside, at a chosen call.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts import random_weights
from resift.convert.late_interaction import late_arrays
from resift.convert.layers import EncoderShape
from resift.errors import InputError, ResiftError
from resift.rerank.artifact import TOKENIZER
from resift.rerank.catalogue import BUNDLED
from resift.rerank.late_interaction import LateInteractionWeights
from resift.rerank.tokenization import Tokens, load_tokenizer
from resift.training.mining import Lists, Mined
from resift.training.recipe import LoopSpec, NetworkSpec, Recipe
from texts import passages
from training.lists import take

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

import torch  # noqa: E402 - only where it is installed

from resift.training import loop  # noqa: E402
from resift.training.groups import Corpus  # noqa: E402
from resift.training.loop import HISTORY, STATE, Average, EarlyStopping, train  # noqa: E402
from resift.training.network import Network  # noqa: E402
from resift.training.scoring import Quality, score  # noqa: E402

STEPS, SAVE_EVERY = 7, 2
SPEC = LoopSpec(
    steps=STEPS,
    queries=3,
    documents=3,
    rate=1e-3,
    cross_attention_rate=1e-2,
    dev_every=3,
    save_every=SAVE_EVERY,
    early_stopping_patience=2,
)
RECIPE = Recipe("tiny", 7, (), SPEC)

Weights = dict[str, torch.Tensor]


def made_network() -> Network:
    late = LateInteractionWeights(5.0, 2.0, 1.0, -3.0)
    return Network(
        random_weights(layers=1) | late_arrays(late), EncoderShape(1, 2, 1e-12, "gelu"), 1
    )


def made_corpora() -> list[Corpus]:
    """Two corpora of prose: eight lists to train on and four to measure on, answers drawn."""
    tokens = Tokens(load_tokenizer(BUNDLED / TOKENIZER), 64)
    texts = passages(30, longest=150)
    made = []
    for number in range(2):
        rng = np.random.default_rng(number)

        def lists(queries: range, rng: np.random.Generator = rng) -> Lists:
            shape = (len(queries), 5)
            documents = np.stack([rng.permutation(len(texts))[:5] for _ in queries])
            relevant = np.zeros(shape, np.bool_)
            relevant[:, 0] = True
            zeros = np.zeros((*shape, 3), np.float32)
            unused = (zeros, zeros[:, :, 0], zeros[:, :, 0])
            return Lists(np.array(queries), documents, relevant, *unused)

        queries = tuple(f"what is said of {text[:20]}" for text in texts[:12])
        mined = Mined(f"made-{number}", tuple(texts), queries, lists(range(8)), lists(range(8, 12)))
        teacher = rng.normal(size=(8, 5)).astype(np.float32)
        made.append(
            Corpus.of(mined, tokens, NetworkSpec(query_tokens=12, document_tokens=32), teacher)
        )
    return made


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As in the processes that are killed; more threads only wait for each other here."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def corpora() -> list[Corpus]:
    return made_corpora()


def trained(folder: Path, corpora: Sequence[Corpus], recipe: Recipe = RECIPE) -> Weights:
    network = made_network()
    train(network, corpora, recipe, folder)
    return weights_of(network)


def weights_of(network: Network) -> Weights:
    return {name: entry.clone() for name, entry in network.state_dict().items()}


def same(first: Weights, other: Weights) -> bool:
    return first.keys() == other.keys() and all(torch.equal(first[n], other[n]) for n in first)


def last(folder: Path) -> Weights:
    """The weights after the last step, before early stopping restores others."""
    weights: Weights = torch.load(folder / STATE, weights_only=True)["network"]
    return weights


def history(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / HISTORY).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def uninterrupted(
    corpora: list[Corpus], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Weights]:
    """A run from first to last step: its folder and the weights that it ends with."""
    folder = tmp_path_factory.mktemp("whole")
    return folder, trained(folder, corpora)


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from resift.training import loop
from training.test_loop import made_corpora, trained

def kill_at(owner, name, call):
    real, calls = getattr(owner, name), 0
    def kill(*arguments):
        nonlocal calls
        calls += 1
        if calls < call:
            return real(*arguments)
        if owner is torch:
            Path(arguments[1]).write_bytes(b"half of a state")
        os.kill(os.getpid(), signal.SIGKILL)
    setattr(owner, name, kill)

torch.optim.AdamW([torch.ones(1)])  # imports the rest of torch
places = {"step": (loop, "score"), "save": (torch, "save")}
for argument in sys.argv[2:]:
    place, call = argument.split("-")
    if os.fork() == 0:
        kill_at(*places[place], int(call))
        trained(Path(sys.argv[1]) / argument, made_corpora())
        os._exit(0)
    print(os.WTERMSIG(os.wait()[1]))
"""

KILLS = {"step-6": 4, "save-2": 2, "step-1": 0}
"""Where, and at which call of it → the step that is saved by then."""
AFTER_A_REPORT = "step-4"  # 3 is reported, 2 is saved


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder a kill: torch is imported once for them all, which takes longest."""
    folder = tmp_path_factory.mktemp("killed")
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    arguments = [sys.executable, "-c", KILLED, str(folder), *KILLS, AFTER_A_REPORT]
    done = subprocess.run(
        arguments, env=environ, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.split() == [str(int(signal.SIGKILL))] * (len(KILLS) + 1), done.stderr
    return folder


@pytest.mark.parametrize("kill", KILLS)
def test_a_killed_run_resumes_and_ends_with_the_same_weights(
    kill: str,
    killed: Path,
    uninterrupted: tuple[Path, Weights],
    corpora: list[Corpus],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = 0

    def counted(*arguments: Any) -> Any:
        nonlocal steps
        steps += 1
        return score(*arguments)

    monkeypatch.setattr(loop, "score", counted)
    weights = trained(killed / kill, corpora)
    assert steps == STEPS - KILLS[kill]  # what was saved was not done again
    assert same(weights, uninterrupted[1])  # the best of them, by early stopping
    assert same(last(killed / kill), last(uninterrupted[0]))
    assert not same(weights, last(killed / kill))
    assert not same(weights, weights_of(made_network()))


def test_a_killed_runs_history_has_one_line_a_report(
    killed: Path, uninterrupted: tuple[Path, Weights], corpora: list[Corpus]
) -> None:
    trained(killed / AFTER_A_REPORT, corpora)
    reported = [
        [(line["step"], line["dev"], line["dev_early"]) for line in history(folder)]
        for folder in (killed / AFTER_A_REPORT, uninterrupted[0])
    ]
    assert reported[0] == reported[1]


def test_a_finished_run_is_not_repeated(
    uninterrupted: tuple[Path, Weights], corpora: list[Corpus], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, weights = uninterrupted
    lines = history(folder)
    monkeypatch.setattr(loop, "score", None)
    monkeypatch.setattr(loop, "measure", None)
    assert same(trained(folder, corpora), weights)
    assert history(folder) == lines


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 8},
        {"name": "another"},
        {"loop": replace(SPEC, rate=2e-3)},
        {"loop": replace(SPEC, steps=STEPS + 1)},
    ],
    ids=["seed", "name", "rate", "steps"],
)
def test_a_folder_of_another_recipe_is_refused_and_left_as_it_is(
    changes: dict[str, Any], uninterrupted: tuple[Path, Weights], corpora: list[Corpus]
) -> None:
    folder, _ = uninterrupted
    state = (folder / STATE).read_bytes()
    lines = history(folder)
    with pytest.raises(InputError, match="has a run with another recipe") as caught:
        trained(folder, corpora, replace(RECIPE, **changes))
    assert str(caught.value).startswith(f"{folder}: ")
    assert (folder / STATE).read_bytes() == state
    assert history(folder) == lines


def test_the_history_has_one_line_a_report(
    corpora: list[Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "REPORT_EVERY", 2)
    trained(tmp_path, corpora)
    lines = history(tmp_path)
    assert [line["step"] for line in lines] == [2, 3, 4, 6, 7]
    for line in lines:
        assert (line["dev"] is None) == (line["step"] in (2, 4))
        assert (line["dev_early"] is None) == (line["dev"] is None)
        assert line["loss"] > 0 and 0 <= line["accuracy"] <= 1 and line["seconds"] >= 0


def test_training_improves_and_the_word_table_is_frozen(
    corpora: list[Corpus], tmp_path: Path
) -> None:
    spec = replace(SPEC, steps=24, dev_every=8, early_stopping_patience=0, save_every=100)
    before = weights_of(made_network())
    after = trained(tmp_path, corpora, replace(RECIPE, loop=spec))
    losses = [line["loss"] for line in history(tmp_path)]
    assert losses[-1] < 0.9 * losses[0]
    table = "embeddings.word_embeddings.weight"
    still = {name for name in before if torch.equal(before[name], after[name])}
    assert still == {table}


def scripted(
    qualities: Sequence[float], seen: list[Weights]
) -> Callable[[Network, Sequence[Corpus], int | None], Quality]:
    """Measures nothing: says the next number and keeps the weights that it was shown."""

    def measure(network: Network, corpora: Sequence[Corpus], limit: int | None = None) -> Quality:
        value = qualities[len(seen)]
        seen.append(weights_of(network))
        return Quality(value / 2, value)

    return measure


@pytest.mark.parametrize(
    ("qualities", "max_worse", "measured", "best"),
    [
        ([0.5, 0.7, 0.6, 0.65, 0.9, 0.9], 2, 4, 1),
        ([0.5, 0.4, 0.3, 0.9, 0.9, 0.9], 1, 2, 0),
        ([0.5, 0.4, 0.6, 0.5, 0.7, 0.6], 2, 6, 4),
        ([0.5, 0.5, 0.5, 0.9, 0.9, 0.9], 2, 3, 0),  # as good is not better
        ([0.5, 0.9, 0.1, 0.1, 0.1, 0.1], 0, 6, 5),  # never gives up, ends where it ends
    ],
)
def test_early_stopping_ends_a_run_that_gets_worse_and_gives_its_best_weights_back(
    qualities: list[float],
    max_worse: int,
    measured: int,
    best: int,
    corpora: list[Corpus],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = replace(
        RECIPE,
        loop=replace(SPEC, steps=5, dev_every=1, save_every=1, early_stopping_patience=max_worse),
    )
    seen: list[Weights] = []
    monkeypatch.setattr(loop, "measure", scripted(qualities, seen))
    weights = trained(tmp_path, corpora, recipe)
    assert len(seen) == measured
    assert [same(weights, entry) for entry in seen] == [
        position == best for position in range(measured)
    ]
    assert [line["dev"] for line in history(tmp_path)] == qualities[1:measured]
    monkeypatch.setattr(loop, "score", None)  # given up for good: nothing more is tried
    assert same(trained(tmp_path, corpora, recipe), weights)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(0, 4))
@settings(deadline=None, max_examples=50)
def test_early_stopping_ends_after_so_many_in_a_row_below_the_best(
    qualities: list[int], max_worse: int
) -> None:
    stopping, network = EarlyStopping(max_worse), torch.nn.Linear(1, 1, bias=False)
    for position, quality in enumerate(qualities):
        network.load_state_dict({"weight": torch.tensor([[float(position)]])})
        stopping.update(10 * position, Quality(0.0, quality / 10), network)
        best = qualities.index(max(qualities[: position + 1]))
        assert stopping.best_step == 10 * best
        assert stopping.best == max(qualities[: position + 1]) / 10
        assert stopping.is_over == (0 < max_worse <= position - best)
    stopping.restore(network)
    retained = qualities.index(max(qualities)) if max_worse else len(qualities) - 1
    assert float(network.weight.detach()) == retained


AVERAGED = replace(
    RECIPE,
    loop=replace(SPEC, steps=6, averaged=0.5, early_stopping_patience=0, dev_every=6, save_every=2),
)


def test_a_run_ends_as_the_mean_of_its_last_weights_also_after_a_stop(
    corpora: list[Corpus], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped within the averaged steps and gone on, it is as if it had not been stopped."""
    added: list[Weights] = []
    shown: list[Weights] = []
    add = Average.add

    def recorded(average: Average, network: Network) -> None:
        added.append(weights_of(network))
        add(average, network)

    monkeypatch.setattr(Average, "add", recorded)
    monkeypatch.setattr(loop, "measure", scripted([0.5, 0.6], shown))
    whole = trained(tmp_path / "whole", corpora, AVERAGED)
    assert len(added) == 3 and not same(added[0], added[2])
    for name, entry in whole.items():
        mean = torch.stack([weights[name] for weights in added]).mean(0)
        torch.testing.assert_close(entry, mean, atol=1e-6, rtol=1e-5)
    assert same(shown[-1], whole)  # what is measured is what the run ends as
    assert same(last(tmp_path / "whole"), added[2])  # and what goes on is not

    calls = 0

    def stopped(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:  # 4 steps are saved, one of them averaged
            raise KeyboardInterrupt
        return score(*arguments)

    monkeypatch.setattr(loop, "measure", scripted([0.5, 0.6], []))
    monkeypatch.setattr(loop, "score", stopped)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "parts", corpora, AVERAGED)
    monkeypatch.setattr(loop, "score", score)
    monkeypatch.setattr(loop, "measure", scripted([0.6], []))
    assert same(trained(tmp_path / "parts", corpora, AVERAGED), whole)


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=9))
def test_an_average_is_exchanged_and_given_back(values: list[float]) -> None:
    average, network = Average(), torch.nn.Linear(1, 1, bias=False)
    average.swap(network)  # nothing yet: nothing changes
    for value in values:
        network.load_state_dict({"weight": torch.tensor([[value]])})
        average.add(network)
    average.swap(network)
    assert float(network.weight.detach()) == pytest.approx(np.mean(values), abs=1e-4)
    average.swap(network)
    assert float(network.weight.detach()) == values[-1]


def test_an_average_and_early_stopping_exclude_each_other(
    corpora: list[Corpus], tmp_path: Path
) -> None:
    both = replace(AVERAGED, loop=replace(AVERAGED.loop, early_stopping_patience=2))
    with pytest.raises(
        InputError, match=r"averaged = 0\.5 and early_stopping_patience = 2.*leave one out"
    ):
        trained(tmp_path / "run", corpora, both)
    assert not (tmp_path / "run").exists()


def test_a_recipe_without_lists_to_measure_on_is_refused(
    corpora: list[Corpus], tmp_path: Path
) -> None:
    blind = [
        replace(entry, mined=replace(entry.mined, dev=take(entry.mined.dev, np.arange(0))))
        for entry in corpora
    ]
    with pytest.raises(ResiftError):
        trained(tmp_path, blind)
