"""``resift judge`` with keys from a pipe: judgments in a file, or an error in a line."""

import io
import json
from pathlib import Path
from typing import Any

import pytest

from cli.command import Done, Resift
from evaluation.small_collection import DOCUMENTS, QUERIES, json_lines, make_collection, make_run
from resift import Index, Ranking, Reranker
from resift.evaluation.judgments import HEADING
from resift.evaluation.queries import line_id
from resift.evaluation.trec import read_qrels
from resift.settings import Settings
from resift.types import Receipt

RANKED = {"q1": ["d4", "d3", "d1"], "q2": ["d1", "d4"]}


class Desk:
    """A collection and a run, and the command over them."""

    def __init__(self, resift: Resift, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
        self._resift = resift
        self._patch = monkeypatch
        self.folder = make_collection(folder / "made")
        self.run = make_run(folder / "run.trec", RANKED)
        self.output = self.folder / "judgments.tsv"

    def judge(self, keys: str, *options: object, queries: Path | None = None) -> Done:
        self._patch.setattr("sys.stdin", io.StringIO(keys))
        options = options or ("--run", self.run)
        return self._resift("judge", queries or self.folder, *options)

    @property
    def qrels(self) -> dict[str, dict[str, float]]:
        return read_qrels(self.output)


@pytest.fixture
def desk(resift: Resift, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Desk:
    return Desk(resift, monkeypatch, tmp_path)


def test_keys_become_judgments_beside_the_queries(desk: Desk) -> None:
    done = desk.judge("2 0\n1\n00\n")
    assert done.code == 0
    assert {name: set(judged) for name, judged in desk.qrels.items()} == {
        name: set(judged) for name, judged in RANKED.items()
    }
    assert sorted(desk.qrels["q1"].values()) == [0, 1, 2]
    assert done.err == f"{desk.output}: 5 judged; nothing is left\n"


def test_a_candidate_is_shown_whole_with_its_query_and_number(desk: Desk) -> None:
    done = desk.judge("")
    assert "query 1 of 2 · candidate 1 of 3 · 0 judged now" in done.out
    assert f"? {QUERIES['q1']}" in done.out
    shown = [name for name, text in DOCUMENTS.items() if name in done.out and text in done.out]
    assert len(shown) == 1
    assert done.err.endswith("0 judged; repeat the command to continue\n")
    assert not desk.output.exists()


def test_a_second_call_continues_and_skipped_candidates_come_last(desk: Desk) -> None:
    assert desk.judge("s1 n 2 q 0").code == 0
    assert [len(judged) for judged in desk.qrels.values()] == [1, 1]
    done = desk.judge("0b0q")
    assert done.out.startswith("query 2 of 2 · candidate 2 of 2")
    assert "took back: 0 not relevant" in done.out
    assert "query 1 of 2 · candidate 1 of 3 · 1 judged now" in done.out
    assert desk.judge("11").err.endswith("2 judged; nothing is left\n")
    assert desk.judge("1").err.endswith("0 judged; nothing is left\n")


@pytest.mark.parametrize("name", ["qrels.tsv", "qrels/test.tsv"])
def test_published_judgments_are_read_and_never_changed(desk: Desk, name: str) -> None:
    file = desk.folder / name
    file.parent.mkdir(exist_ok=True)
    published = "query-id\tcorpus-id\tscore\nq1\td4\t1\nother\td9\t1\n"
    file.write_text(published)
    assert desk.judge("2222").err.endswith("4 judged; nothing is left\n")
    assert file.read_text() == published
    assert {name: set(judged) for name, judged in desk.qrels.items()} == {
        "q1": {"d3", "d1"}, "q2": {"d1", "d4"}
    }  # fmt: skip
    error = desk.judge("2", "--run", desk.run, "--output", file).error
    assert "exists and is not a file that resift judge wrote" in error
    assert file.read_text() == published


def test_judgments_by_hand_are_measured_beside_published_ones(desk: Desk, resift: Resift) -> None:
    (desk.folder / "qrels.tsv").write_text("q1\td4\t1\n")
    desk.judge("2222")
    done = resift("eval", desk.folder, "--run", desk.run, "--depths", 2, "--json")
    assert json.loads(done.out)["judged"] == 2


def test_judgments_elsewhere_may_be_named(desk: Desk, tmp_path: Path) -> None:
    published = tmp_path / "theirs.tsv"
    published.write_text("q1 0 d4 1\nq1 0 d3 0\n")
    done = desk.judge("222", "--run", desk.run, "--qrels", published)
    assert done.err.endswith("3 judged; nothing is left\n")


def test_the_output_can_be_elsewhere(desk: Desk, tmp_path: Path) -> None:
    file = tmp_path / "mine.tsv"
    assert desk.judge("2q", "--run", desk.run, "--output", file).code == 0
    assert len(read_qrels(file)["q1"]) == 1 and not desk.output.exists()


def test_two_runs_are_pooled(desk: Desk, tmp_path: Path) -> None:
    other = make_run(tmp_path / "other.trec", {"q1": ["d2"]})
    done = desk.judge("", "--run", desk.run, "--run", other, "--pool", 1)
    assert "candidate 1 of 2" in done.out


def test_the_scale_decides_which_grades_there_are(desk: Desk) -> None:
    assert "3 answers it" in desk.judge("3q", "--run", desk.run, "--grades", "0-3").out.replace(
        "\xa0", " "
    )
    assert list(desk.qrels["q1"].values()) == [3]
    desk.output.unlink()
    error = desk.judge("3", "--run", desk.run, "--grades", "0-1")
    assert error.code == 1 and error.err == "error: key '3': expected 0, 1, s, n or b\n"
    assert desk.judge("", "--run", desk.run, "--grades", "0-9").code == 2


def test_control_characters_are_not_printed(desk: Desk) -> None:
    text = "\x1b[2J\x07red\x1b]0;title\x07\n\u202esecond line\r[bold]kept[/bold]"
    (desk.folder / "corpus.jsonl").write_text(json_lines([{"_id": "d1", "text": text}]))
    (desk.folder / "queries.jsonl").write_text(json_lines([{"_id": "q1", "text": "a\x1b[1m?"}]))
    make_run(desk.run, {"q1": ["d1"]})
    out = desk.judge("").out
    assert not any(char in out for char in "\x1b\x07\u202e\r")
    assert "second line\n[bold]kept[/bold]\n" in out


def test_an_unknown_key_in_a_script_is_an_error_and_earlier_keys_count(desk: Desk) -> None:
    done = desk.judge("2x0")
    assert done.code == 1 and done.err == "error: key 'x': expected 0, 1, 2, s, n or b\n"
    assert list(desk.qrels["q1"].values()) == [2]


def _change(desk: Desk, what: str) -> None:
    if what == "no queries":
        (desk.folder / "queries.jsonl").write_text("")
    elif what == "bad queries":
        (desk.folder / "queries.jsonl").write_text('{"_id": "q1"}\n')
    elif what == "bad judgments":
        desk.output.write_text(HEADING + "q1\n")
    elif what == "other run":
        make_run(desk.run, {"q7": ["d1"]})
    elif what == "no corpus":
        (desk.folder / "corpus.jsonl").unlink()


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no queries", "contains no queries"),
        ("bad queries", "queries.jsonl:1: expected a JSON object"),
        ("bad judgments", "judgments.tsv:2: expected query, document and grade"),
        ("other run", "the first is q7"),
        ("no corpus", "no corpus.jsonl"),
    ],
)
def test_invalid_files_are_an_error_in_a_line(desk: Desk, what: str, message: str) -> None:
    _change(desk, what)
    assert message in desk.judge("2").error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--pool", 5), "--index URI or --run RUN"),
        (("--run", "absent.trec"), "absent.trec: no such file"),
        (("--index", "absent"), "absent"),
        (("--index", "absent", "--run", "absent"), "--index URI or --run RUN"),
        (("--index", "absent", "--pool", 0), "--pool 0"),
        (("--index", "absent", "--output", "nowhere/qrels.tsv"), "there is no folder"),
    ],
)
def test_invalid_arguments_are_an_error_in_a_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, options: tuple[object, ...], message: str
) -> None:
    pytest.importorskip("lance")
    monkeypatch.chdir(desk.folder)
    assert message in desk.judge("2", *options).error


def test_an_index_is_searched_in_four_ways_for_plain_questions(
    desk: Desk, resift: Resift, tmp_path: Path
) -> None:
    pytest.importorskip("lance")
    source = tmp_path / "source"
    source.mkdir()
    for name, text in DOCUMENTS.items():
        (source / f"{name}.txt").write_text(text)
    index = tmp_path / "index"
    assert resift("index", source, "--index", index).code == 0
    asked = tmp_path / "asked.txt"
    asked.write_text("where do messages wait\n")
    done = desk.judge("2222", "--index", index, queries=asked)
    assert "candidate 4 of 4" in done.out
    qrels = read_qrels(tmp_path / "judgments.tsv")
    assert qrels == {line_id("where do messages wait"): {f"{name}.txt": 2 for name in DOCUMENTS}}


def test_the_named_model_reranks(
    desk: Desk, tmp_path: Path, joint_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = tmp_path / "index"
    Index(str(index)).sync(str(desk.folder / "corpus.jsonl"))
    monkeypatch.setenv("RESIFT_CALIBRATION", "of-another.json")
    receipts = _noted(monkeypatch)
    assert desk.judge("1", "--index", index, "--model", joint_folder).code == 0
    named = {receipt.model for receipt in receipts if receipt.scored}
    assert named == {Reranker(joint_folder, settings=Settings()).name}
    assert not any(receipt.partial for receipt in receipts)
    line = desk.judge("1", "--run", desk.run, "--model", joint_folder).error
    assert f"--model {joint_folder}: reranks results of an index; leave it out with --run" in line


def _noted(monkeypatch: pytest.MonkeyPatch) -> list[Receipt]:
    """Receipts of later searches."""
    receipts: list[Receipt] = []
    search = Index.search

    def noting(*given: Any, **named: Any) -> Ranking:
        ranking = search(*given, **named)
        receipts.append(ranking.receipt)
        return ranking

    monkeypatch.setattr(Index, "search", noting)
    return receipts


def test_a_file_name_that_is_too_long_is_refused_in_a_line(desk: Desk) -> None:
    assert "too long" in desk.judge("1", queries=Path("a" * 5_000)).error
