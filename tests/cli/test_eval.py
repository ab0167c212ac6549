"""``resift eval``: a verdict, figures, a gate; bad input in a line."""

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from cli.command import Done, Resift
from evaluation.example_evaluations import make_evaluation
from evaluation.small_collection import make_collection, make_run
from resift.cli.eval_report import print_ablation, print_evaluation
from resift.cli.output import console
from resift.evaluation.measures import measure_names
from resift.evaluation.result import Latency, Variant
from resift.evaluation.significance import paired_test
from resift.search.index import Index
from resift.search.options import MODES

RANKED = {"q1": ["d4", "d3", "d1", "d2"], "q2": ["d1", "d4"]}
QRELS = "q1\td2\t2\nq1\td1\t0\nq2\td4\t1\n"


class Desk:
    """A judged collection, a run, and the command over them."""

    def __init__(self, resift: Resift, folder: Path) -> None:
        self._resift = resift
        self.collection = make_collection(folder / "made")
        self.qrels = self.collection / "qrels.tsv"
        self.qrels.write_text(QRELS)
        self.run = self.rank(RANKED)

    def rank(self, ranked: Mapping[str, list[str]]) -> Path:
        return make_run(self.collection / "run.trec", ranked)

    def eval(self, *options: object) -> Done:
        return self._resift("eval", self.collection, "--run", self.run, *options)

    def bare(self, *options: object) -> Done:
        return self._resift("eval", *options)


@pytest.fixture
def desk(resift: Resift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Desk(resift, tmp_path)


def test_long_documents_can_be_read_in_windows(desk: Desk) -> None:
    options = ("--depths", "4", "--json", "--long-documents", "windows", "--compare", "bundled")
    systems = json.loads(desk.eval(*options).out)["systems"]
    labels = [system["label"] for system in systems]
    assert labels == ["bundled?long_documents=windows", "bundled"]


def test_the_verdict_comes_first_then_figures_then_queries(desk: Desk) -> None:
    done = desk.eval("--depths", "2,4")
    assert (done.code, done.err) == (0, "")
    lines = done.out.splitlines()
    assert re.match(r"no difference shown: nDCG@10 \.\d{3} → \.?\d", lines[0])
    for part in ("made: 2 queries, first stage run.trec", "first stage", "depth 2", "depth 4",
                 "nDCG@10", "RR@10", "R@4", "Judged@10", "p boot", "p rand", "helped most (2 of 2)",
                 "advice:"):  # fmt: skip
        assert part in done.out, part
    assert "grade   2" in done.out and "Object lock keeps an object" in done.out


def test_json_is_one_document_and_nothing_else(desk: Desk) -> None:
    done = desk.eval("--depths", "2,4", "--json")
    report = json.loads(done.out)
    assert report["queries"] == report["judged"] == 2
    assert [row["depth"] for row in report["systems"][0]["rows"]] == [2, 4]
    assert report["systems"][0]["compared"]["RR@10"]["after"] == 1.0


def test_several_rerankers_are_compared(desk: Desk) -> None:
    done = desk.eval("--depths", "4", "--compare", "bundled", "--compare",
                     "bundled?fusion_weight=1000&exact=false")  # fmt: skip
    assert done.code == 0
    assert "bundled?fusion_weight=1000&exact=false" in done.out
    assert "against bundled: -" in done.out


def test_an_index_is_a_first_stage_and_needs_no_corpus(desk: Desk, tmp_path: Path) -> None:
    Index(str(tmp_path / "index")).sync(str(desk.collection / "corpus.jsonl"))
    (desk.collection / "corpus.jsonl").unlink()
    done = desk.bare(desk.collection, "--index", tmp_path / "index", "--depths", "4")
    assert done.code == 0 and "first stage hybrid of" in done.out and "p50" in done.out
    table = desk.bare(desk.collection, "--index", tmp_path / "index", "--depths", "4", "--ablation")
    assert [line.split()[:2] for line in table.out.splitlines()[-9:]] == [
        [mode, second] for mode in ("hybrid", "dense", "lexical")
        for second in ("none", "alone", "fused")
    ]  # fmt: skip


def test_a_corpus_is_indexed_where_nothing_else_is_named(desk: Desk) -> None:
    done = desk.bare(desk.collection, "--depths", "4", "--mode", "lexical")
    assert done.code == 0 and "first stage lexical of" in done.out


def test_without_judgments_the_missing_part_is_named(desk: Desk) -> None:
    desk.qrels.unlink()
    done = desk.eval("--depths", "4")
    assert done.code == 0
    assert done.out.startswith("cannot tell: there are no judgments")
    assert "note: no judgments" in done.err and "of a query's first ten are new" in done.out


@pytest.mark.parametrize(("floor", "code"), [("first-stage", 0), ("0.5", 0), ("1", 3)])
def test_fail_below_is_a_gate_for_ci(desk: Desk, floor: str, code: int) -> None:
    desk.qrels.write_text(QRELS + "q2\td9\t2\n")  # an answer that no window has
    done = desk.eval("--depths", "4", "--fail-below", floor)
    assert done.code == code and "depth 4" in done.out
    assert ("below 1.0000" in done.err) == bool(code)


def test_a_reranker_that_hurts_does_not_pass_the_gate(desk: Desk) -> None:
    desk.rank({"q1": ["d2", "d3"], "q2": ["d4", "d1"]})
    desk.qrels.write_text("q1\td3\t1\nq2\td1\t1\n")
    options = ("--depths", "2", "--fusion-weight", 0, "--fail-below", "first-stage")
    assert desk.eval(*options).code == 0  # as wrong as the first stage, and no worse
    desk.rank({"q1": ["d3", "d2"], "q2": ["d1", "d4"]})
    done = desk.eval(*options)
    assert done.code == 3 and "of the first stage" in done.err
    assert "hurt most (2 of 2)" in done.out


def test_a_gate_without_judgments_is_not_met(desk: Desk) -> None:
    desk.qrels.unlink()
    done = desk.eval("--depths", "4", "--fail-below", "first-stage")
    assert done.code == 3 and "there are no judgments" in done.err


def test_fail_below_checks_an_ablation_too(desk: Desk, tmp_path: Path) -> None:
    Index(str(tmp_path / "index")).sync(str(desk.collection / "corpus.jsonl"))
    options = (desk.collection, "--index", tmp_path / "index", "--depths", 4, "--ablation")
    desk.qrels.write_text(QRELS + "q2\td9\t2\n")
    done = desk.bare(*options, "--mode", "dense", "--fail-below", 0.99, "--json")
    of_mode = {(each["mode"], each["reranking"]): each for each in json.loads(done.out)}
    value = of_mode["dense", "fused"]["measures"]["nDCG@10"]
    assert done.code == 3 and f"nDCG@10 is {value:.4f}, below 0.9900" in done.err
    assert desk.bare(*options, "--fail-below", 0.1).code == 0


def test_every_table_fits_in_80_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "width", 80)
    long = "models/a-name-that-is-long?fusion_weight=0.3&exact="
    report = make_evaluation(1_500, (f"{long}true", f"{long}false"), (10, 50, 100, 1_000))
    print_evaluation(report)
    out = capsys.readouterr().out
    tables = [
        line for line in out.splitlines() if line.startswith(("depth ", "first ", "   ", "R"))
    ]
    assert len(tables) > 20 and max(map(len, tables)) <= 80
    assert "…" not in out and out.count(f"{long}true") >= 2 and out.count(f"{long}false") >= 2
    print_ablation([
        Variant(mode, second, dict.fromkeys(measure_names([100], 2), 0.1234),
                Latency(12_345, 12_345, 9), 123.4,
                None if second == "none" else paired_test([0.0, 0.1], [1.0, 0.2]))
        for mode in MODES for second in ("none", "alone", "fused")
    ])  # fmt: skip
    out = capsys.readouterr().out
    assert "…" not in out and max(map(len, out.splitlines())) <= 80 and "fused" in out


def test_rerankers_of_one_name_are_numbered(desk: Desk) -> None:
    done = desk.eval("--depths", "4", "--compare", "bundled", "--compare", "bundled")
    assert done.code == 0 and "against bundled: +0.000" in done.out
    assert "bundled (2)" in done.out


def test_model_and_weight_are_the_usual_options(desk: Desk, tmp_path: Path) -> None:
    done = desk.eval("--depths", "4", "--fusion-weight", 1000, "--compare", "bundled")
    assert done.code == 0 and done.out.startswith("changes nothing")
    assert "(bundled?fusion_weight=1000)" in done.out and "against bundled?fusion" in done.out
    assert "nowhere" in desk.eval("--model", tmp_path / "nowhere").error
    assert "--fusion-weight -1" in desk.eval("--fusion-weight", -1).error


def test_times_do_not_depend_on_the_pair_cache(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RESIFT_CACHE_FILE", str(tmp_path / "pairs.db"))
    monkeypatch.setenv("RESIFT_CACHE_MB", "8")
    for _ in range(2):
        rows = json.loads(desk.eval("--depths", "4", "--json").out)["systems"][0]["rows"]
        assert rows[0]["tokens"] > 0 and rows[0]["latency"] is not None


def test_json_has_only_plain_values(desk: Desk) -> None:
    def refused(constant: str) -> None:
        raise AssertionError(constant)

    report = json.loads(desk.eval("--depths", "2,4", "--json").out, parse_constant=refused)
    assert report["systems"][0]["advice"]["depth"] == 0
    assert (
        "no depth and no weight is significantly better" in report["systems"][0]["advice"]["reason"]
    )


@pytest.mark.parametrize("before", ["an essay", "<!doctype html><p>mine"])
def test_only_a_page_that_resift_wrote_is_replaced(desk: Desk, tmp_path: Path, before: str) -> None:
    page = tmp_path / "page.html"
    page.write_text(before)
    assert "exists and is not a page" in desk.eval("--html", page).error
    assert page.read_text() == before


def _line(query_id: str, doc_id: str, score: str) -> str:
    return f"{query_id} Q0 {doc_id} 1 {score} made\n"


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (_line("q1", "d1", "3") + _line("q1", "d1", "2"), "d1 occurs twice for query q1"),
        (_line("q1", "d1", "nan"), "the score nan is not a finite number"),
        (_line("q1", "d1", "much"), "the score much is not a finite number"),
        ("q1 d1\n", "run.trec:1: expected query_id Q0 doc_id rank score tag"),
        ("", "empty; expected query_id Q0"),
        (_line("q1", "x1", "1"), "none of its 1 documents"),
        (_line("q7", "d1", "1"), "no candidate for any of 2 queries"),
    ],
)
def test_an_invalid_run_is_an_error_in_a_line(desk: Desk, run: str, message: str) -> None:
    desk.run.write_text(run)
    assert message in desk.eval().error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--depths", "2,9999999999999999999"), "rising whole numbers from 1 to 1,000,000"),
        (("--relevant", "9999999999999999999"), "expected a grade from 1 to 1,000"),
        (("--model", ""), "expected the name of a file or folder"),
        (("--depths", "ten"), "--depths ten: expected whole numbers"),
        (("--depths", "20,10"), "--depths 20,10: expected rising"),
        (("--compare", "bundled?weight=1"), "weight=1 is not an option"),
        (("--compare", "nowhere"), "nowhere"),
        (("--fail-below", "7"), "--fail-below 7: expected a number in 0..1, or first-stage"),
        (("--fail-below", "good"), "--fail-below good"),
        (("--target-ms", "-1"), "--target-ms -1"),
        (("--qrels", "nowhere.tsv"), "nowhere.tsv: no such file"),
        (("--index", "x"), "expected one first stage"),
        (("--ablation",), "an ablation needs an index"),
    ],
)
def test_a_wrong_option_is_an_error_in_a_line(
    desk: Desk, options: tuple[str, ...], message: str
) -> None:
    assert message in desk.eval(*options).error


def test_a_folder_that_is_no_collection_is_an_error_in_a_line(desk: Desk, tmp_path: Path) -> None:
    assert "nowhere" in desk.bare(tmp_path / "nowhere").error
    assert "no index there" in desk.bare(desk.collection, "--index", tmp_path / "none").error


def test_without_the_extra_the_error_says_what_to_install(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    assert "ir_measures is not installed: run pip install 'resift[eval]'" in desk.eval().error


def test_the_model_of_the_environment_is_used_unless_bundled_is_named(
    desk: Desk, joint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIFT_MODEL", str(joint_folder))
    monkeypatch.setenv("RESIFT_CALIBRATION", "of-another.json")
    report = json.loads(desk.eval("--depths", "2", "--json").out)
    assert report["systems"][0]["label"] == str(joint_folder)
    options = ("--compare", "bundled", "--model", joint_folder)
    first, second = json.loads(desk.eval("--depths", "2", "--json", *options).out)["systems"]
    assert first["fingerprint"] == report["systems"][0]["fingerprint"] != second["fingerprint"]


def test_grades_with_a_fraction_are_measured_and_shown(desk: Desk, tmp_path: Path) -> None:
    desk.qrels.write_text("q1 0 d2 1.5\nq1 0 d1 0.25\nq2 0 d4 1.0\n")
    report = json.loads(desk.eval("--depths", "2,4", "--json").out)
    changes = {change["query_id"]: change["moved"] for change in report["systems"][0]["changes"]}
    grades = {move["doc_id"]: move["grade"] for move in changes["q1"]}
    assert (grades["d2"], grades["d1"], grades["d4"]) == (1.5, 0.25, None)
    assert "grade 1.5" in desk.eval("--depths", "2,4").out
    page = tmp_path / "page.html"
    assert desk.eval("--depths", "2,4", "--html", page).code == 0
    assert "<td>1.5</td>" in page.read_text()
