"""``resift rerank-run`` after an interruption: it goes on, and never with another job's results."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cli.command import Done, Resift
from cli.conftest import resift as resift
from evaluation.small_collection import QUERIES, make_collection, make_run
from resift import Ranking, Reranker
from resift.errors import RuntimeFailure
from resift.evaluation import finished_queries

RANKED = {"q1": ["d4", "d3", "d1", "d2"], "q2": ["d1", "d4"]}
FAILURE = RuntimeFailure("the model fails")


class Desk:
    """A collection, a run and an output, and the command over them."""

    def __init__(self, resift: Resift, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._resift, self._patch = resift, patch
        self.collection = make_collection(folder / "made")
        self.run = make_run(folder / "run.trec", RANKED)
        self.output = folder / "out.trec"
        self.parts = folder / "out.trec.parts"
        self.asked: list[str] = []

    def rerank(self, *options: object) -> Done:
        return self._resift(
            "rerank-run", self.collection, "--run", self.run, "--output", self.output, *options
        )

    @contextmanager
    def failing(self, query: str | None, error: BaseException = FAILURE) -> Iterator[None]:
        """The model fails at this query; `asked` has those before."""
        rank = Reranker.rank
        self.asked.clear()

        def failing(reranker: Reranker, text: str, *arguments: Any, **options: Any) -> Ranking:
            if text == query:
                raise error
            self.asked.append(text)
            return rank(reranker, text, *arguments, **options)

        with self._patch.context() as patch:
            patch.setattr(Reranker, "rank", failing)
            yield

    def interrupt(self, *options: object) -> Done:
        """A run that fails at the second query."""
        with self.failing(QUERIES["q2"]):
            done = self.rerank(*options)
        assert done.code == 1 and not self.output.exists()
        assert self.asked == [QUERIES["q1"]]
        return done


@pytest.fixture
def desk(resift: Resift, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    return Desk(resift, tmp_path, monkeypatch)


def test_the_same_command_goes_on_and_writes_what_it_would_have(desk: Desk) -> None:
    desk.output = desk.output.with_name("undisturbed")
    undisturbed = json.loads(desk.rerank("--json").out)
    whole = desk.output.read_bytes()
    desk.output = desk.output.with_name("out.trec")
    line, error = desk.interrupt().err.splitlines()
    assert line == (
        f"{desk.parts}: 1 of 2 queries are finished; the same command goes on from there"
    )
    assert error == "error: the model fails"
    with desk.failing(None):
        done = desk.rerank("--json")
    assert done.code == 0 and f"{desk.parts}: 1 of 2 queries were finished earlier" in done.err
    assert desk.asked == [QUERIES["q2"]]
    assert desk.output.read_bytes() == whole and not desk.parts.exists()
    report = json.loads(done.out)
    assert report["resumed"] == 1 and undisturbed["resumed"] == 0
    same = ("resumed", "output", "seconds")
    assert {k: v for k, v in report.items() if k not in same} == {
        k: v for k, v in undisturbed.items() if k not in same
    }


def test_a_query_that_cannot_be_read_is_named_again(desk: Desk) -> None:
    (desk.collection / "queries.jsonl").write_text(
        f'{{"_id": "q1", "text": " "}}\n{{"_id": "q2", "text": "{QUERIES["q2"]}"}}\n'
    )
    with desk.failing(QUERIES["q2"]):
        assert "query q1 keeps its order" in desk.rerank().err
    done = desk.rerank("--json")
    assert done.err.count("query q1 keeps its order") == 1
    assert [entry["query_id"] for entry in json.loads(done.out)["not_reranked"]] == ["q1"]


@pytest.mark.parametrize("options", [("--depth", 2), ("--exact",), ("--fusion-weight", 0)])
def test_another_job_does_not_go_on_from_there(desk: Desk, options: tuple[object, ...]) -> None:
    desk.interrupt()
    before = sorted(desk.parts.iterdir())
    error = desk.rerank(*options).error
    assert "out.trec.parts: is the partial output of another job" in error
    assert f"(with another {str(options[0]).strip('-').replace('-', '_')}): finish" in error
    assert sorted(desk.parts.iterdir()) == before and not desk.output.exists()
    assert desk.rerank().code == 0 and not desk.parts.exists()


def test_somebody_elses_folder_of_that_name_is_left_alone(desk: Desk) -> None:
    desk.parts.mkdir()
    (desk.parts / "thesis").write_text("a thesis")
    assert "out.trec.parts: exists and is not of resift rerank-run" in desk.rerank().error
    assert (desk.parts / "thesis").read_text() == "a thesis"


def test_an_output_that_is_a_link_has_its_folder_beside_its_file(desk: Desk) -> None:
    (desk.output.parent / "far").mkdir()
    desk.output.symlink_to(desk.output.parent / "far" / "run")
    desk.interrupt()
    assert (desk.output.parent / "far" / "run.parts").is_dir() and not desk.parts.exists()
    assert desk.rerank().code == 0
    assert [file.name for file in (desk.output.parent / "far").iterdir()] == ["run"]


def test_stdout_and_devices_have_no_folder(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finished_queries, "WRITE_AFTER_S", 0)
    desk.output = Path("/dev/null")
    with desk.failing(QUERIES["q2"]):
        assert desk.rerank().error == "error: the model fails"
    assert not Path("/dev/null.parts").exists()


def test_options_of_a_cluster_need_one(desk: Desk) -> None:
    assert "--workers 2: is for --ray" in desk.rerank("--workers", 2).error
    assert "--worker-cpus 2: is for --ray" in desk.rerank("--worker-cpus", 2).error
    for option in ("--workers", "--worker-cpus"):
        desk.run = desk.run.with_name("absent")
        error = desk.rerank("--ray", "local", option, 0).error
        assert "expected a whole number from 1" in error


def test_ctrl_c_keeps_what_is_finished(desk: Desk) -> None:
    with desk.failing(QUERIES["q2"], KeyboardInterrupt()):
        done = desk.rerank()
    assert done.code == 130 and "1 of 2 queries are finished; the same" in done.err
    assert "1 of 2 queries were finished earlier" in desk.rerank().err
