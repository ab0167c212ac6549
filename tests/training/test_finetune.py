"""Fine-tuning writes a model that is better on queries that it did not see, or nothing at all.

Models, texts and rules are made up: what answers a query shares two of its three words.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluation.small_collection import json_lines
from resift import Reranker
from resift.errors import DatasetError, InputError, ModelError, ModelNotFound, ResiftError
from resift.rerank.artifact import TERM_FILES, load_artifact
from resift.rerank.late_interaction import LateInteractionWeights
from resift.training.base import open_base
from resift.training.pairs import TrainingSource
from split_artifacts import LATE, WORDS, make_split_artifact

for needed in ("torch", "bm25s", "Stemmer"):
    pytest.importorskip(needed)
pytestmark = pytest.mark.torch  # the train extra brings them

from resift.training import finetune as module  # noqa: E402 - only where they are installed
from resift.training.finetune import Tuned, fine_tune  # noqa: E402

QUERIES, HELD_OUT = 48, 20
AVERSE = LateInteractionWeights(-0.3, -0.1, -0.1, 0.0)
"""Prefers what shares nothing: each of the made pairs says the opposite."""

RECIPE = """
name = "fine-tune"
seed = 7
[loss]
teacher = 0.0
teacher_early = 0.0
[loop]
steps = 0
queries = 8
rate = 1e-4
cross_attention_rate = 1e-3
head_rate = 0.1
dev_every = 10
save_every = 10
early_stopping_patience = 3
"""

Row = Mapping[str, Any]


def made_pairs(count: int = QUERIES, seed: int = 1, shared: int = 2) -> list[Row]:
    """Queries of three words, no two alike, and answers of `shared` of them and nine others."""
    rng = np.random.default_rng(seed)
    rows: dict[str, Row] = {}
    while len(rows) < count:
        words = rng.choice(WORDS, 3, replace=False)
        query = " ".join(words)
        answer = rng.permutation([*words[:shared], *rng.choice(WORDS, 9)])
        rows[query] = {"query": query, "positive": " ".join(answer)}
    return list(rows.values())


def noisy(rows: Sequence[Row], source: TrainingSource) -> list[Row]:
    """Answers of other queries, but for those that are held out: on them one can see it."""
    retained = {source.queries[position] for position in source.dev}
    trained = [row for row in rows if row["query"] not in retained]
    moved = [
        {"query": row["query"], "positive": other["positive"]}
        for row, other in zip(trained, [*trained[5:], *trained[:5]], strict=True)
    ]
    return [row for row in rows if row["query"] in retained] + moved


@dataclass(frozen=True, slots=True)
class Desk:
    """A base, a file of pairs and an output, and `fine_tune` over them."""

    folder: Path
    base: Path

    @property
    def pairs(self) -> Path:
        return self.folder / "pairs.jsonl"

    @property
    def out(self) -> Path:
        return self.folder / "tuned"

    def hold(self, rows: Sequence[Row]) -> "Desk":
        self.pairs.write_text(json_lines(rows), encoding="utf-8")
        return self

    def tune(self, **changes: Any) -> Tuned:
        options: dict[str, Any] = {
            "data": self.pairs,
            "base_name": str(self.base),
            "out": self.out,
            "work": None,
        }
        return fine_tune(**(options | {"progress": lambda line: None} | changes))

    def refused(self, kind: type[ResiftError], *messages: str, **changes: Any) -> str:
        """The error's one line; nothing was written."""
        with pytest.raises(kind) as caught:
            self.tune(**changes)
        assert "\n" not in str(caught.value)
        for message in messages:
            assert message in str(caught.value)
        assert not self.out.exists()
        return str(caught.value)


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A base that knows the rule, its opposite, and that one without cross-attention layers."""
    folder = tmp_path_factory.mktemp("bases")
    return {
        "knows": make_split_artifact(
            folder / "knows", late=LATE, cross_attention=False, name="base"
        ),
        "averse": make_split_artifact(folder / "averse", late=AVERSE, name="base"),
        "encoder": make_split_artifact(
            folder / "encoder", late=AVERSE, cross_attention=False, name="base"
        ),
        "terms": make_split_artifact(
            folder / "terms", late=replace(AVERSE, terms=0.5), name="base"
        ),
    }


@pytest.fixture(autouse=True, scope="session")
def _recipe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Few steps at a high rate: what ships takes many at a low one."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "fine-tune.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RECIPES", folder)
        yield


@pytest.fixture
def float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports stay float32: int8 layers take the most time and have tests of their own."""
    monkeypatch.setattr("resift.convert.late_interaction.quantise", lambda model, samples: model)


@pytest.fixture
def desk(tmp_path: Path, bases: dict[str, Path]) -> Desk:
    return Desk(tmp_path, bases["averse"])


@dataclass(frozen=True, slots=True)
class Run:
    """A whole run, int8 and all, and what it said."""

    desk: Desk
    tuned: Tuned
    spoken: list[str]


@pytest.fixture(scope="session")
def run(bases: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Run:
    desk = Desk(tmp_path_factory.mktemp("run"), bases["averse"]).hold(made_pairs())
    spoken: list[str] = []
    return Run(desk, desk.tune(progress=spoken.append), spoken)


def relevant_in_top(model: Path, rows: Sequence[Row]) -> float:
    """The share of queries whose answer is among the first three of all answers."""
    reranker = Reranker(model)
    texts = [row["positive"] for row in rows]
    result = [
        position in {hit.index for hit in reranker.rank(row["query"], texts, top_n=3)}
        for position, row in enumerate(rows)
    ]
    return float(np.mean(result))


def test_a_base_with_terms_keeps_them(bases: Mapping[str, Path], tmp_path: Path) -> None:
    desk = Desk(tmp_path, bases["terms"]).hold(made_pairs())
    tuned = desk.tune()
    assert tuned.tuned > tuned.base
    late = load_artifact(desk.out).manifest.late_interaction
    assert late is not None and late.terms == 0.5
    for name in TERM_FILES:
        assert (desk.out / name).read_bytes() == (desk.base / name).read_bytes()


def test_a_model_learns_the_rule_and_is_better_on_held_out_queries(run: Run) -> None:
    assert (run.tuned.queries, run.tuned.held_out) == (QUERIES - HELD_OUT, HELD_OUT)
    assert run.tuned.base < 0.3 and run.tuned.tuned > run.tuned.base + 0.3
    assert run.spoken[0] == f"{QUERIES - HELD_OUT} queries to train on, {HELD_OUT} held out"
    assert f"{run.tuned.base:.4f}" in run.spoken[1]


def test_held_out_quality_is_that_of_unseen_queries(run: Run) -> None:
    unseen = made_pairs(30, seed=99)
    assert relevant_in_top(run.desk.base, unseen) < 0.2
    assert relevant_in_top(run.desk.out, unseen) > 0.5


def test_what_is_written_is_a_whole_model_that_names_its_base(run: Run) -> None:
    manifest = load_artifact(run.desk.out).manifest
    assert (manifest.name, manifest.base_model) == ("tuned", "base")
    assert manifest.licence == load_artifact(run.desk.base).manifest.licence
    assert "int8" in manifest.quantisation
    assert len(manifest.exits) == 1 and manifest.calibration is not None
    reranker = Reranker(run.desk.out)  # not `verify`: the averse base's exit knows nothing
    for pair in manifest.reference:
        logit = float(reranker.score(pair.query, [pair.text])[0])
        assert abs(logit - pair.logit) <= manifest.tolerance


def test_the_base_is_left_as_it_was(run: Run) -> None:
    assert load_artifact(run.desk.base).manifest.late_interaction == AVERSE  # hashes are checked
    assert sorted(file.name for file in run.desk.folder.iterdir()) == ["pairs.jsonl", "tuned"]


@pytest.mark.usefixtures("float32")
def test_a_tuned_model_is_a_base_again(run: Run, tmp_path: Path) -> None:
    base = open_base(str(run.desk.out))
    assert base.cross_attention_layers == 1
    assert base.late == load_artifact(run.desk.out).manifest.late_interaction != AVERSE
    desk = Desk(tmp_path, run.desk.out).hold(made_pairs(seed=5))
    try:
        tuned = desk.tune()
    except ModelError as error:  # it may have learned all there is
        assert "after training" in str(error)
    else:
        assert tuned.tuned > tuned.base > 0.5


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("noise", [False, True])
def test_where_nothing_is_gained_nothing_is_written_and_both_figures_are_named(
    noise: bool, desk: Desk, bases: dict[str, Path]
) -> None:
    """The base finds every answer already; labels say the same, or they are noise."""
    rows = made_pairs(shared=3)
    desk = Desk(desk.folder, bases["knows"]).hold(rows)
    if noise:
        desk.hold(noisy(rows, source_of(desk.pairs)))
    message = desk.refused(ModelError, "nothing was written", str(desk.pairs))
    figures = re.findall(r"\d\.\d{4}", message)
    assert len(figures) == 2 and figures[1] == "1.0000"


@pytest.mark.usefixtures("float32")
def test_an_encoder_tuned_on_judgments_gets_cross_attention_layers(
    tmp_path: Path, bases: dict[str, Path]
) -> None:
    desk = Desk(tmp_path, bases["encoder"])
    data = judged(tmp_path / "judged", made_pairs())
    tuned = desk.tune(data=data)
    assert (tuned.queries, tuned.held_out) == (QUERIES - HELD_OUT, HELD_OUT)
    assert tuned.tuned > tuned.base + 0.3
    manifest = load_artifact(desk.out).manifest
    assert len(manifest.stages) == 3 and len(load_artifact(desk.base).manifest.stages) == 2


def judged(folder: Path, rows: Sequence[Row]) -> Path:
    """A BEIR folder: answers with a title, of grade 1 or 2, and another text that is none."""
    (folder / "qrels").mkdir(parents=True)
    corpus, queries, qrels = [], [], ["query-id\tcorpus-id\tscore"]
    for position, row in enumerate(rows):
        title, _, text = row["positive"].partition(" ")
        corpus.append({"_id": f"d{position}", "title": title, "text": text})
        queries.append({"_id": f"q{position}", "text": row["query"]})
        qrels += [
            f"q{position}\td{position}\t{1 + position % 2}",
            f"q{position}\td{(position + 3) % len(rows)}\t0",
        ]
    corpus.append({"_id": "unjudged", "title": "", "text": "never read"})
    qrels += ["q0\tabsent\t1", "absent\td0\t1"]
    (folder / "corpus.jsonl").write_text(json_lines(corpus))
    (folder / "queries.jsonl").write_text(json_lines(queries))
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")
    return folder


def test_judgments_are_read_as_pairs_with_their_titles(tmp_path: Path) -> None:
    rows = made_pairs()
    source = source_of(judged(tmp_path / "judged", rows))
    assert sorted(source.queries) == sorted(row["query"] for row in rows)
    assert set(source.texts) == {row["positive"] for row in rows}
    by_query = {row["query"]: position for position, row in enumerate(rows)}
    for position, query in enumerate(source.queries):
        entry = by_query[query]
        assert [source.texts[n] for n in source.positives[position]] == [rows[entry]["positive"]]
        wrong = rows[(entry + 3) % len(rows)]["positive"]
        assert [source.texts[n] for n in source.negatives[position]] == [wrong]
    assert len(source.dev) == HELD_OUT


@pytest.mark.parametrize(("count", "held_out"), [(40, 20), (150, 30), (1200, 200)])
def test_a_fifth_is_held_out_within_limits(count: int, held_out: int, desk: Desk) -> None:
    source = source_of(desk.hold(made_pairs(count)).pairs)
    assert (len(source.queries), len(source.dev)) == (count, held_out)


@pytest.mark.usefixtures("float32")
def test_a_run_resumes_in_its_work_folder(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    desk.hold(made_pairs())
    work = desk.folder / "work"
    first = desk.tune(work=work)
    history = (work / "history.jsonl").read_text()
    assert [json.loads(line)["step"] for line in history.splitlines()] == [10, 20]
    assert "going on" not in capsys.readouterr().err
    again = desk.tune(work=work, out=desk.folder / "again")
    assert again == first
    assert "resuming at step 20" in capsys.readouterr().err
    assert (work / "history.jsonl").read_text() == history
    single, other = (load_artifact(desk.folder / name).manifest for name in ("tuned", "again"))
    assert single.fingerprint == other.fingerprint


def source_of(data: Path) -> TrainingSource:
    class AnyLength:
        def whole_query(self, text: str) -> None:
            pass

    return module._source(data, AnyLength(), print)  # type: ignore[arg-type]


def test_more_epochs_are_more_steps_up_to_a_limit(desk: Desk) -> None:
    source = source_of(desk.hold(made_pairs(150)).pairs)
    queries = len(source.queries) - len(source.dev)
    steps = [module._recipe(queries, epochs).loop.steps for epochs in (0.1, 2, 4, 1e6)]
    assert steps == [20, 30, 60, module.MAX_STEPS]


def test_fewer_than_forty_queries_are_refused(desk: Desk) -> None:
    desk.hold(made_pairs(39)).refused(DatasetError, "39 queries", "at least 40", str(desk.pairs))
    same = [dict(row, query=f"bal {position % 30}") for position, row in enumerate(made_pairs(90))]
    desk.hold(same).refused(DatasetError, "30 queries")
    desk.hold([]).refused(DatasetError, "0 queries")


def test_an_output_that_is_there_is_refused_before_anything_is_read(desk: Desk) -> None:
    taken = desk.folder / "taken"
    taken.mkdir()
    (taken / "file").touch()
    for out in (taken, taken / "file"):
        desk.refused(InputError, f"{out}: exists already", out=out)
    assert [file.name for file in taken.iterdir()] == ["file"]


def test_an_empty_folder_may_be_the_output(desk: Desk) -> None:
    (desk.folder / "empty").mkdir()
    desk.hold([])
    desk.refused(DatasetError, "0 queries", out=desk.folder / "empty")


def test_an_invalid_base_is_refused(desk: Desk, joint_folder: Path) -> None:
    desk.hold(made_pairs())
    desk.refused(ModelNotFound, "no-such", base_name="no-such")
    desk.refused(ModelNotFound, "owner/model", base_name="owner/model")
    message = desk.refused(ModelError, "a cross-encoder", base_name=str(joint_folder))
    assert str(joint_folder) in message and "bundled" in message


def test_invalid_data_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.refused(DatasetError, "absent: no such file", data=tmp_path / "absent")
    good = json_lines(made_pairs())
    desk.pairs.write_text(good + "no pair\n")
    desk.refused(DatasetError, f"{desk.pairs}:{QUERIES + 1}: ")


@pytest.mark.parametrize("missing", ["qrels/test.tsv", "corpus.jsonl", "queries.jsonl"])
def test_a_folder_that_is_no_judged_collection_is_refused(
    missing: str, desk: Desk, tmp_path: Path
) -> None:
    data = judged(tmp_path / "judged", made_pairs())
    (data / missing).unlink()
    desk.refused(DatasetError, f"no {'judgments' if 'qrels' in missing else missing}", data=data)


def test_judgments_without_relevant_documents_are_refused(desk: Desk, tmp_path: Path) -> None:
    data = judged(tmp_path / "judged", made_pairs())
    lines = [f"q{position}\td{position}\t0\n" for position in range(QUERIES)]
    (data / "qrels" / "test.tsv").write_text("".join(lines))
    desk.refused(DatasetError, "0 queries with a relevant text", data=data)


def test_held_out_queries_without_a_retrieved_relevant_document_are_refused(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.training.mining.DEV_DEPTH", 0)
    desk.hold(made_pairs()).refused(
        DatasetError, "no held-out query retrieves its relevant document"
    )


@pytest.mark.usefixtures("float32")
def test_a_model_whose_logits_fall_with_the_labels_is_refused_in_a_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("resift.training.finetune.train", lambda *_: None)  # stays averse
    desk.hold(made_pairs()).refused(ModelError, "nothing was written")


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("blank", ["query", "positive"])
def test_a_blank_text_is_refused_by_its_line(blank: str, desk: Desk) -> None:
    desk.hold([*made_pairs(), {"query": "bal ber", "positive": "bal ber"} | {blank: " "}])
    desk.refused(DatasetError, str(desk.pairs))


@pytest.mark.usefixtures("float32")
@pytest.mark.parametrize("other", ["pairs", "base"])
def test_a_work_folder_of_other_pairs_or_another_base_is_refused(
    other: str, desk: Desk, bases: dict[str, Path]
) -> None:
    work = desk.folder / "work"
    desk.hold(made_pairs()).tune(work=work, out=desk.folder / "first")
    if other == "pairs":
        desk.hold(made_pairs(seed=2))
    base = bases["knows"] if other == "base" else desk.base
    desk.refused(InputError, str(work), work=work, base_name=str(base))
