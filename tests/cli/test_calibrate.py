"""``resift calibrate``, and scores of rerank and search with its file."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from cli.command import Done, Resift
from evaluation.small_collection import json_lines, make_run
from resift import Candidate, Reranker
from resift.rerank.calibration import read_calibration
from texts import passages

pytest.importorskip("scipy")

POOL = [" ".join(text.split()[:16]) for text in passages(12)]
ASKED = 12
QUERIES = {f"q{n}": " ".join(POOL[n].split()[:12]) for n in range(ASKED)}
RANKED = {f"q{n}": [f"d{(n + k) % len(POOL)}" for k in range(len(POOL))] for n in range(ASKED)}
METHODS = ("none", "model", "platt", "isotonic")


class Desk:
    """A judged collection with a run, and the command over it."""

    def __init__(self, resift: Resift, folder: Path) -> None:
        self.resift, self.folder = resift, folder
        self.collection = folder / "made"
        self.collection.mkdir()
        corpus = [{"_id": f"d{n}", "text": text} for n, text in enumerate(POOL)]
        (self.collection / "corpus.jsonl").write_text(json_lines(corpus))
        queries = [{"_id": name, "text": text} for name, text in QUERIES.items()]
        (self.collection / "queries.jsonl").write_text(json_lines(queries))
        self.judge([(f"q{n}", f"d{(n + k) % len(POOL)}", 1) for n in range(ASKED) for k in (0, 1)])
        self.run = make_run(folder / "run.trec", RANKED)
        self.output = folder / "own.json"

    def judge(self, rows: Sequence[tuple[str, str, int]]) -> None:
        lines = [f"{query}\t{document}\t{grade}\n" for query, document, grade in rows]
        (self.collection / "qrels.tsv").write_text("".join(lines))

    def calibrate(self, *options: object) -> Done:
        return self.resift(
            "calibrate", self.collection, "--run", self.run, "--output", self.output, *options
        )


@pytest.fixture
def desk(resift: Resift, tmp_path: Path) -> Desk:
    return Desk(resift, tmp_path)


def test_a_table_for_each_scale_and_a_file(desk: Desk) -> None:
    done = desk.calibrate()
    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0].endswith("144 pairs of 12 queries, 24 relevant")
    for title in ("logits alone", "with the first stage at 0.3"):
        start = next(n for n, line in enumerate(lines) if line.startswith(title))
        assert [line.split()[0] for line in lines[start + 1 : start + 5]] == list(METHODS)
    assert sum(line.startswith("pairs ") for line in lines) == 2
    assert done.err.splitlines() == [
        f"{desk.output}: use it by --calibration {desk.output} or RESIFT_CALIBRATION"
    ]
    written = read_calibration(desk.output)
    assert (written.queries, written.pairs, written.relevant) == (12, 144, 24)
    assert written.made["first_stage"] == "run.trec" and written.made["collection"] == "made"


def test_json_is_the_file_and_its_bins(desk: Desk) -> None:
    printed = json.loads(desk.calibrate("--json").out)
    bins = printed.pop("reliability")
    assert printed == json.loads(desk.output.read_text())
    assert [sum(each["pairs"] for each in bins[name]) for name in ("plain", "fused")] == [144, 144]


def test_options_decide_which_pairs_are_relevant(desk: Desk) -> None:
    desk.judge([(f"q{n}", f"d{(n + k) % 12}", max(2 - k, 0)) for n in range(12) for k in range(4)])
    assert json.loads(desk.calibrate("--judged-only", "--json").out)["pairs"] == 48
    written = json.loads(desk.calibrate("--depth", "4", "--json").out)
    assert (written["pairs"], written["relevant"]) == (48, 24)
    assert "12 judged queries with 12 relevant" in desk.calibrate("--relevant", 2).error


def test_judgments_may_be_in_another_file(desk: Desk, tmp_path: Path) -> None:
    qrels = (desk.collection / "qrels.tsv").rename(tmp_path / "other.tsv")
    assert json.loads(desk.calibrate("--qrels", qrels, "--json").out)["relevant"] == 24


def test_candidates_can_come_from_an_index(desk: Desk, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    source, index = tmp_path / "source", tmp_path / "index"
    source.mkdir()
    shutil.copy(desk.collection / "corpus.jsonl", source)
    assert desk.resift("index", source, "--index", index).code == 0
    arguments = ("--index", index, "--output", desk.output, "--json")
    written = json.loads(desk.resift("calibrate", desk.collection, *arguments).out)
    assert written["made"]["first_stage"] == f"hybrid of {index}"
    assert (written["queries"], written["relevant"]) == (12, 24)


def test_without_run_and_index_the_corpus_is_indexed(desk: Desk) -> None:
    pytest.importorskip("lance")
    done = desk.resift("calibrate", desk.collection, "--output", desk.output, "--json")
    assert done.code == 0, done.err
    written = json.loads(done.out)
    assert written["queries"] == 12 and written["made"]["first_stage"].startswith("hybrid of ")


def test_errors_are_a_line_and_nothing_is_written(desk: Desk, tmp_path: Path) -> None:
    assert "--depth 0" in desk.calibrate("--depth", 0).error
    assert "expected one first stage" in desk.calibrate("--index", tmp_path / "index").error
    good = (desk.collection / "qrels.tsv").read_text()
    desk.judge([("q0", "d0", 1)])
    assert "judge 9 more queries and 19 more relevant documents" in desk.calibrate().error
    rows = [(f"q{n}", f"d{m}", int(m not in (n, (n + 1) % 12))) for n in range(12)
            for m in range(12)]  # fmt: skip
    desk.judge(rows)
    assert "no higher logits than the rest" in desk.calibrate().error
    desk.judge([("q99", "d0", 1)])
    assert "are the judgments of this collection?" in desk.calibrate().error
    (desk.collection / "qrels.tsv").unlink()
    assert "no judgments: expected qrels.tsv in it" in desk.calibrate().error
    (desk.collection / "qrels.tsv").write_text(good)
    desk.output = tmp_path / "absent" / "own.json"
    assert "there is no folder" in desk.calibrate().error
    desk.output = desk.collection
    assert "is a folder" in desk.calibrate().error
    assert not (tmp_path / "own.json").exists()


@pytest.mark.parametrize("before", ["thesis", '{"format": 1}', "[]", '{"bins": 15}'])
def test_only_a_calibration_is_replaced(desk: Desk, before: str) -> None:
    desk.output.write_text(before)
    assert "exists and is not a calibration that resift wrote" in desk.calibrate().error
    assert desk.output.read_text() == before


def test_devices_are_written_to_and_stdout_gets_one_document(desk: Desk) -> None:
    desk.output = Path("/dev/null")
    assert desk.calibrate().code == 0 and not desk.output.is_file()
    assert (
        "both go to stdout"
        in desk.resift(
            "calibrate", desk.collection, "--run", desk.run, "--output", "-", "--json"
        ).error
    )


def test_the_fusion_weight_option_is_fitted(desk: Desk) -> None:
    assert "with the first stage at 0.8" in desk.calibrate("--fusion-weight", 0.8).out
    assert read_calibration(desk.output).fusion_weight == 0.8
    assert "--fusion-weight -1" in desk.calibrate("--fusion-weight", -1).error


def test_a_query_that_cannot_be_read_is_named_and_left_out(desk: Desk) -> None:
    queries = QUERIES | {"q0": "word " * 3_000}
    rows = [{"_id": name, "text": text} for name, text in queries.items()]
    (desk.collection / "queries.jsonl").write_text(json_lines(rows))
    done = desk.calibrate("--json")
    assert json.loads(done.out)["queries"] == 11
    assert done.err.startswith("query q0 is left out: ")


def test_the_calibration_of_the_settings_is_ignored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIFT_CALIBRATION", str(desk.output))  # not there yet
    assert desk.calibrate().code == 0


@pytest.fixture
def lines(tmp_path: Path) -> Path:
    file = tmp_path / "lines.jsonl"
    rows = [{"text": text, "score": 20 - n} for n, text in enumerate(POOL)]
    file.write_text(json_lines(rows))
    return file


def test_reranked_scores_follow_the_calibration_file(desk: Desk, lines: Path) -> None:
    desk.calibrate()
    options = ("rerank", "-q", QUERIES["q3"], lines)
    done = desk.resift(*options, "--calibration", desk.output, "--jsonl")
    window = [Candidate(str(n + 1), text, score=20.0 - n) for n, text in enumerate(POOL)]
    expected = Reranker(calibration=desk.output).rank(QUERIES["q3"], window)
    assert [row["id"] for row in done.rows] == [hit.id for hit in expected]
    scores = [row["score"] for row in done.rows]
    assert scores == pytest.approx([hit.score for hit in expected], rel=1e-6)
    assert "calibrated on judgments" in desk.resift(*options, "--calibration", desk.output).err
    assert "calibrated by the model's maker" in desk.resift(*options).err


def test_min_score_leaves_out_hits_and_abstaining_is_reported(desk: Desk, lines: Path) -> None:
    options = ("rerank", "-q", "a cake of apples", lines)
    whole = desk.resift(*options, "--jsonl").rows
    least = (whole[1]["score"] + whole[2]["score"]) / 2
    done = desk.resift(*options, "--jsonl", "--min-score", least, "--abstain-below", 1)
    assert done.rows == whole[:2]
    assert done.err == "no candidate is relevant enough: the best score is below --abstain-below\n"
    assert "10 below min_score" in desk.resift(*options, "--min-score", least).err
    for option in ("--min-score", "--abstain-below"):
        assert "expected a number from 0 to 1" in desk.resift(*options, option, 2).error


def test_scores_that_are_not_calibrated_are_marked(
    desk: Desk, lines: Path, joint_folder: Path
) -> None:
    options = ("rerank", "-q", "a query", lines, "--model", joint_folder)
    assert "scores are not calibrated" in desk.resift(*options).err
    warned = desk.resift(*options, "--min-score", 0.1).err.splitlines()
    assert warned[0].startswith("min_score and abstain_below: scores are not calibrated")
    assert len(warned) == 2


def test_another_models_calibration_is_refused(desk: Desk, lines: Path, joint_folder: Path) -> None:
    desk.calibrate()
    options = ("-q", "a query", lines, "--model", joint_folder, "--calibration", desk.output)
    error = desk.resift("rerank", *options).error
    assert "fitted for resift-minilm" in error and "tiny-joint" in error


def test_search_uses_the_calibration_too(desk: Desk, tmp_path: Path) -> None:
    pytest.importorskip("lance")
    desk.calibrate()
    source, index = tmp_path / "source", tmp_path / "index"
    source.mkdir()
    for n, text in enumerate(POOL):
        (source / f"{n}.txt").write_text(text)
    assert desk.resift("index", source, "--index", index).code == 0
    options = ("search", QUERIES["q3"], "--index", index, "--calibration", desk.output)
    whole = desk.resift(*options, "--jsonl").rows
    done = desk.resift(*options, "--min-score", whole[0]["score"], "--abstain-below", 1)
    assert "calibrated on judgments" in done.err and "below min_score" in done.err
    assert "no candidate is relevant enough" in done.err
    assert "calibrated by the model's maker" in desk.resift(*options[:4]).err
    line = desk.resift(*options[:4], "--no-rerank", "--abstain-below", 0.5).error
    assert "--abstain-below 0.5: has no effect without reranking" in line
    absent = ("--calibration", tmp_path / "absent.json")
    assert "absent.json: no such file" in desk.resift(*options[:4], *absent).error


def test_messages_do_not_call_stdout_a_file(desk: Desk) -> None:
    done = desk.resift("calibrate", desk.collection, "--run", desk.run, "--output", "-")
    assert done.code == 0 and json.loads(done.out)["queries"] == 12
    assert "--calibration -" not in done.err and "--calibration FILE" in done.err


def test_the_default_depth_is_that_of_search_and_of_a_run_that_of_runs(desk: Desk) -> None:
    of_run = json.loads(desk.calibrate("--json").out)
    options = ("--output", desk.folder / "index.json", "--json")
    of_corpus = json.loads(desk.resift("calibrate", desk.collection, *options).out)
    assert (of_run["made"]["depth"], of_corpus["made"]["depth"]) == ("100", "30")
