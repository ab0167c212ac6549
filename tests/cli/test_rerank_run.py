"""``resift rerank-run``: a collection and a run in, a run out, or an error in a line."""

import gzip
import json
from pathlib import Path

import pytest

from cli.command import Done, Resift, process
from evaluation.small_collection import make_collection, make_run
from resift.evaluation.trec import read_run

RANKED = {"q1": ["d4", "d3", "d1", "d2"], "q2": ["d1", "d4"]}


class Desk:
    """A collection, a run and an output, and the command over them."""

    def __init__(self, resift: Resift, folder: Path) -> None:
        self._resift = resift
        self.collection = make_collection(folder / "made")
        self.run = make_run(folder / "run.trec", RANKED)
        self.output = folder / "out.trec"

    def rerank(self, *options: object) -> Done:
        return self._resift(
            "rerank-run", self.collection, "--run", self.run, "--output", self.output, *options
        )

    def order(self) -> dict[str, list[str]]:
        run = read_run(self.output)
        return {
            query_id: [entry.doc_id for entry in documents] for query_id, documents in run.items()
        }


@pytest.fixture
def desk(resift: Resift, tmp_path: Path) -> Desk:
    return Desk(resift, tmp_path)


def test_relevant_documents_come_first(desk: Desk) -> None:
    done = desk.rerank("--fusion-weight", 0)
    assert (done.code, done.out) == (0, "")
    assert len(done.err.splitlines()) == 1
    assert "2 queries, 6 pairs, first stage's weight 0" in done.err
    order = desk.order()
    assert order["q1"][0] == "d2" and order["q2"] == ["d4", "d1"]


def test_beyond_the_depth_the_order_stays(desk: Desk) -> None:
    assert desk.rerank("--depth", 1).code == 0
    assert desk.order() == RANKED


def test_a_heavy_first_stage_keeps_its_order(desk: Desk) -> None:
    assert "weight 1000" in desk.rerank("--fusion-weight", 1000).err
    assert desk.order() == RANKED


def test_gzipped_runs_are_read_and_written(desk: Desk) -> None:
    desk.rerank()
    plain = desk.output.read_text()
    packed = desk.run.with_suffix(".gz")
    packed.write_bytes(gzip.compress(desk.run.read_bytes()))
    desk.run, desk.output = packed, desk.output.with_suffix(".gz")
    assert desk.rerank().code == 0
    assert gzip.decompress(desk.output.read_bytes()).decode() == plain


def test_errors_are_a_line_and_nothing_is_written(desk: Desk, tmp_path: Path) -> None:
    good = desk.run
    assert "--depth 0" in desk.rerank("--depth", 0).error
    assert "--fusion-weight -1" in desk.rerank("--fusion-weight", -1).error
    desk.run = make_run(tmp_path / "other", {"q9": ["d1"]})
    assert "queries are not in" in desk.rerank().error
    desk.run = make_run(tmp_path / "other", {"q1": ["d1", "d8", "d9"]})
    assert "2 of 3 documents are not in" in desk.rerank().error
    (tmp_path / "other").write_text("no run at all\n")
    assert "other:1: " in desk.rerank().error
    desk.run = tmp_path / "absent"
    assert "absent: no such file" in desk.rerank().error
    desk.run, desk.collection = good, tmp_path / "nowhere"
    assert "nowhere: no such folder" in desk.rerank().error
    assert not desk.output.exists()


def test_an_impossible_output_is_refused(desk: Desk, tmp_path: Path) -> None:
    desk.output = tmp_path / "absent" / "out"
    assert "there is no folder" in desk.rerank().error
    desk.output = tmp_path / "made"
    assert "made: is a folder" in desk.rerank().error


def test_only_a_run_that_resift_wrote_is_replaced(desk: Desk) -> None:
    before = desk.run.read_bytes()
    desk.output = desk.run
    assert "exists and is not a run that resift wrote" in desk.rerank().error
    assert desk.run.read_bytes() == before
    desk.output = desk.run.with_name("out.trec")
    assert desk.rerank().code == desk.rerank().code == 0
    desk.run = desk.output
    assert "is the input run" in desk.rerank().error


def test_a_dash_is_stdout_and_devices_are_written_to(desk: Desk) -> None:
    assert desk.rerank().code == 0
    arguments = ["rerank-run", str(desk.collection), "--run", str(desk.run), "--output", "-"]
    assert process(*arguments).out == desk.output.read_text()
    desk.output = Path("/dev/null")
    assert desk.rerank().code == 0
    assert not desk.output.is_file()


def test_what_the_collection_lacks_is_noted_and_keeps_its_order(desk: Desk) -> None:
    desk.run = make_run(desk.run.with_name("more"), {**RANKED, "q2": ["d9", "d1"], "q9": ["d1"]})
    done = desk.rerank()
    assert done.code == 0 and len(done.err.splitlines()) == 3
    assert "1 of 3 queries are not in" in done.err and "1 of 5 documents are not in" in done.err
    assert desk.order()["q9"] == ["d1"] and desk.order()["q2"] == ["d1", "d9"]


def test_json_is_one_document_with_the_options_and_results(desk: Desk) -> None:
    done = desk.rerank(
        "--json", "--depth", 3, "--exact", "--fusion-weight", 0, "--budget-ms", 60_000
    )
    assert done.code == 0
    report = json.loads(done.out)
    assert report["output"] == str(desk.output) and report["model"] and report["fingerprint"]
    assert {name: report[name] for name in ("depth", "top_n", "exact", "budget_ms")} == {
        "depth": 3, "top_n": None, "exact": True, "budget_ms": 60_000
    }  # fmt: skip
    assert (report["queries"], report["pairs"], report["scored"], report["partial"]) == (2, 5, 5, 0)
    assert (
        report["fusion_weights"] == [0] and report["not_reranked"] == [] and report["notes"] == []
    )
    assert report["seconds"] > 0 and desk.order()["q2"] == ["d4", "d1"]


def test_json_and_a_run_do_not_share_stdout(desk: Desk) -> None:
    desk.output = Path("-")
    assert "both go to stdout; name a file" in desk.rerank("--json").error


def test_json_names_the_queries_that_keep_their_order(desk: Desk) -> None:
    (desk.collection / "queries.jsonl").write_text(
        '{"_id": "q1", "text": " "}\n{"_id": "q2", "text": "where do messages wait"}\n'
    )
    report = json.loads(desk.rerank("--json").out)
    (entry,) = report["not_reranked"]
    assert entry["query_id"] == "q1" and "empty" in entry["reason"]
    assert desk.order()["q1"] == RANKED["q1"]


def test_late_candidates_keep_their_order_and_are_counted(desk: Desk) -> None:
    done = desk.rerank("--budget-ms", 0, "--json")
    report = json.loads(done.out)
    assert (report["scored"], report["partial"]) == (0, 2) and len(report["reasons"]) == 1
    assert desk.order() == RANKED
    assert "2 queries partial, the first: " in done.err


def test_top_n_limits_the_documents_per_query(desk: Desk) -> None:
    assert desk.rerank("--top-n", 1, "--fusion-weight", 0).code == 0
    assert desk.order() == {"q1": ["d2"], "q2": ["d4"]}
    assert desk.rerank("--top-n", 3, "--depth", 1).code == 0
    assert desk.order() == {"q1": ["d4", "d3", "d1"], "q2": ["d1", "d4"]}


@pytest.mark.parametrize(
    ("option", "value"), [("--top-n", 0), ("--budget-ms", -1), ("--budget-ms", "nan")]
)
def test_an_invalid_number_is_an_error_before_the_work(
    desk: Desk, option: str, value: object
) -> None:
    desk.run = desk.run.with_name("absent")
    assert option in desk.rerank(option, value).error
    assert not desk.output.exists()


def test_the_calibration_of_another_model_is_ignored(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESIFT_CALIBRATION", "of-another.json")
    assert desk.rerank().code == 0


def test_a_file_name_that_is_too_long_is_refused_in_a_line(desk: Desk) -> None:
    before, desk.run = desk.run, Path("a" * 5_000)
    assert "too long" in desk.rerank().error
    desk.run, desk.collection = before, Path("a" * 5_000)
    assert "no such folder" in desk.rerank().error


def test_an_id_as_long_as_a_book_does_not_fill_the_screen(desk: Desk) -> None:
    desk.run.write_text(f"q1 Q0 d2 1 2 x\nq1 Q0 {'d' * 100_000} 2 1 x\nq2 Q0 d4 1 1 x\n")
    assert len(desk.rerank().err) < 2_000
