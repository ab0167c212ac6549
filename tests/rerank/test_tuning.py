"""Batch sizes are tried on real batches, the best is stored on disk, and no logit depends on it."""

import json
import os
import warnings
from pathlib import Path

import pytest

from artifacts import WordCountModel
from resift import Reranker
from resift.rerank.batching import TOKEN_BUDGET
from resift.rerank.engine import Engine
from resift.rerank.tuning import BATCHES, BUDGETS, KIND, MAX_FILE_BYTES, Tuning, tuning_file
from resift.settings import Settings
from texts import passages

KEY = "model, runtime, machine"
LENGTH = 32


def try_all(tuning: Tuning, fastest: int, by: float) -> None:
    """Full batches, each as fast as the last, but for one budget whose pace is `by` times that."""
    for _ in range(BATCHES * len(BUDGETS)):
        budget = tuning.token_budget
        rows = [LENGTH] * (budget // LENGTH)
        tuning.add(rows, LENGTH, sum(rows) / (by if budget == fastest else 1.0))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "batch-sizes.json"


def choices(file: Path) -> object:
    return json.loads(file.read_text())["choices"]


@pytest.mark.parametrize("fastest", BUDGETS)
def test_the_fastest_is_chosen_and_known_to_the_next_process(file: Path, fastest: int) -> None:
    tuning = Tuning(KEY, file)
    try_all(tuning, fastest, by=1.5)
    assert tuning.token_budget == fastest
    assert Tuning(KEY, file).token_budget == fastest
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_noise_chooses_the_usual(file: Path) -> None:
    try_all(Tuning(KEY, file), 256, by=1.02)
    assert choices(file) == {KEY: TOKEN_BUDGET}


def test_one_slow_batch_decides_nothing() -> None:
    tuning = Tuning(KEY, None)
    tuning.add([LENGTH] * (TOKEN_BUDGET // LENGTH), LENGTH, 1e9)
    try_all(tuning, 0, by=1.0)
    assert tuning.token_budget == TOKEN_BUDGET


def test_a_batch_with_room_left_says_nothing() -> None:
    tuning = Tuning(KEY, None)
    for _ in range(100):
        tuning.add([LENGTH], LENGTH, 1e-3 if tuning.token_budget == 256 else 1.0)
    assert tuning.token_budget == BUDGETS[0]


def test_another_model_or_machine_is_tried_on_its_own(file: Path) -> None:
    try_all(Tuning(KEY, file), 256, by=2.0)
    other = Tuning("another", file)
    try_all(other, 512, by=2.0)
    assert choices(file) == {KEY: 256, "another": 512}


@pytest.mark.parametrize(
    "content",
    [
        b"{",
        b"[1]",
        b"\xff",
        b"7",
        b"null",
        b"[" * 100_000,
        b"9" * 10_000,
        b'{"dark_mode": true}',
        b'{"kind": "another", "choices": {}}',
        b'{"kind": "resift batch sizes", "choices": 7}',
        b'{"kind": "resift batch sizes"}' + b" " * MAX_FILE_BYTES,
    ],
)
def test_a_file_that_is_not_ours_is_left_alone_with_a_warning(file: Path, content: bytes) -> None:
    file.parent.mkdir()
    file.write_bytes(content)
    with pytest.warns(
        RuntimeWarning, match=r"batch-sizes\.json: (not a file of|has more than) .*left alone"
    ):
        tuning = Tuning(KEY, file)
    try_all(tuning, 512, by=2.0)
    assert tuning.token_budget == 512
    assert file.read_bytes() == content
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]


def test_a_file_that_becomes_anothers_meanwhile_is_left_alone(file: Path) -> None:
    tuning = Tuning(KEY, file)
    file.parent.mkdir()
    file.write_bytes(b"{}")
    try_all(tuning, 512, by=2.0)
    assert tuning.token_budget == 512 and file.read_bytes() == b"{}"


def test_an_empty_file_is_filled(file: Path) -> None:
    file.parent.mkdir()
    file.touch()
    try_all(Tuning(KEY, file), 512, by=2.0)
    assert choices(file) == {KEY: 512}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes")
def test_a_pipe_without_a_writer_is_not_waited_for(file: Path) -> None:
    file.parent.mkdir()
    os.mkfifo(file)
    with pytest.warns(RuntimeWarning, match="expected a file"):
        tuning = Tuning(KEY, file)
    try_all(tuning, 512, by=2.0)
    assert file.is_fifo()


def test_a_folder_in_its_place_is_left_alone(file: Path) -> None:
    file.mkdir(parents=True)
    with pytest.warns(RuntimeWarning, match="expected a file"):
        tuning = Tuning(KEY, file)
    try_all(tuning, 512, by=2.0)
    assert tuning.token_budget == 512 and file.is_dir()


@pytest.mark.parametrize("choice", [7, 1e9, 512.0, 10**30, -256, 0, True, "512", None, [512]])
def test_a_choice_that_is_none_is_measured_again(file: Path, choice: object) -> None:
    file.parent.mkdir()
    file.write_text(json.dumps({"kind": KIND, "choices": {KEY: choice, "another": 256}}))
    tuning = Tuning(KEY, file)
    assert tuning.token_budget == BUDGETS[0]
    assert type(tuning.token_budget) is int
    file.write_text(json.dumps({"kind": KIND, "choices": {KEY: choice, "another": 256}}, indent=1))
    try_all(tuning, 512, by=2.0)
    assert choices(file) == {KEY: 512, "another": 256}


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with warnings.catch_warnings(action="error"):
        tuning = Tuning(KEY, tmp_path / "file" / "batch-sizes.json")
        try_all(tuning, 256, by=2.0)
    assert tuning.token_budget == 256


def test_the_file_is_in_the_users_cache_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert tuning_file(Settings()) == tmp_path / "resift" / "batch-sizes.json"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tuning_file(Settings()) == tmp_path / ".cache" / "resift" / "batch-sizes.json"
    named = Settings(cache_dir=str(tmp_path / "named"))
    assert tuning_file(named) == tmp_path / "named" / "batch-sizes.json"
    assert tuning_file(Settings(cache_dir="~nobody-at-all/x")) is None


def test_an_engine_tries_all_sizes_and_settles() -> None:
    model, tuning = WordCountModel(), Tuning(KEY, None)
    engine = Engine(model, tuning=tuning)
    texts = ["red"] * 2000
    outcome = engine.score("red blue", texts)
    sizes = {size for stage, size in model.calls if stage == 1}
    assert {budget // 16 for budget in BUDGETS} <= sizes
    assert outcome.logits.tolist() == [1.5] * len(texts)
    model.calls.clear()
    engine.score("red blue", texts)
    assert model.calls[0] == (1, tuning.token_budget // 16)


def test_logits_do_not_depend_on_the_size(joint_folder: Path) -> None:
    texts = passages(60)
    known = []
    for budget in BUDGETS:
        reranker = Reranker(joint_folder)
        reranker._engine._worker._tuning = _chosen(budget)
        known.append(reranker.score("red blue", texts))
    for logits in known[1:]:
        assert logits == pytest.approx(known[0], abs=1e-5)


def _chosen(budget: int) -> Tuning:
    tuning = Tuning(KEY, None)
    try_all(tuning, budget, by=2.0)
    return tuning
