"""``resift eval --html``: a page beside the report, and no work for one that cannot be written."""

from pathlib import Path

import pytest

from cli.command import Resift
from evaluation.small_collection import make_collection, make_run

RANKED = {"q1": ["d4", "d3", "d1", "d2"], "q2": ["d1", "d4"]}
QRELS = "query-id\tcorpus-id\tscore\nq1\td2\t1\nq2\td4\t1\n"


def test_the_page_shows_the_same_as_the_terminal(resift: Resift, tmp_path: Path) -> None:
    pytest.importorskip("ir_measures")
    collection = make_collection(tmp_path / "made")
    (collection / "qrels.tsv").write_text(QRELS)
    run, file = make_run(tmp_path / "run.trec", RANKED), tmp_path / "report.html"
    done = resift(
        "eval", collection, "--run", run, "--qrels", collection / "qrels.tsv", "--html", file
    )
    assert done.code == 0 and str(file) in done.err.replace("\n", "")
    page = file.read_text(encoding="utf-8")
    answer = done.out.partition(";")[0]
    assert answer.startswith(("helps", "no difference shown")) and answer in page
    assert "what stops an object from being deleted" in page


def test_a_page_that_cannot_be_written_is_an_error_before_the_work(
    resift: Resift, tmp_path: Path
) -> None:
    error = resift("eval", tmp_path / "none", "--html", tmp_path / "missing" / "report.html").error
    assert "missing/report.html: there is no folder" in error


def test_an_ablation_has_no_page(resift: Resift, tmp_path: Path) -> None:
    error = resift("eval", tmp_path, "--ablation", "--html", tmp_path / "report.html").error
    assert "--ablation: an ablation has no report" in error
