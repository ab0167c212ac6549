"""Options that change nothing and names of nothing are refused in a line that names them."""

import io
import json
import sys
from pathlib import Path

import pytest

from cli.command import Resift
from evaluation.small_collection import make_collection, make_run

POINTLESS = [
    ("eval MADE --run RUN --mode dense", "--mode dense: a run has no modes"),
    ("eval MADE --run RUN --mode hybrid", "--mode hybrid: a run has no modes"),
    ("eval MADE --ablation --compare bundled", "--compare "),
    ("eval MADE --ablation --target-ms 5", "--target-ms 5.0: the ablation advises no depth"),
    ("eval MADE --ablation --mode dense", "--mode dense: the ablation measures all"),
    ("calibrate MADE --output OUT --run RUN --mode lexical", "--mode lexical: a run has no modes"),
    ("judge MADE --run RUN --port 8080", "--port 8080: is an option of the page; add --web"),
    ("judge MADE --run RUN --port 0", "--port 0: is an option of the page; add --web"),
    ("judge MADE --run RUN --model m", "--model m: reranks results of an index"),
    ("search x --index i --no-rerank --exact", "--exact: has no effect without reranking"),
    ("search x --index i --no-rerank --min-score 0", "--min-score 0.0: has no effect without"),
    (
        "search x --index i --no-rerank --fusion-weight 0",
        "--fusion-weight 0.0: has no effect without",
    ),
    (
        "search x --index i --no-rerank --model m --abstain-below 1",
        "--model m and --abstain-below 1.0: has no effect",
    ),
    ("search x --index i --no-rerank --calibration c", "--calibration c: has no effect without"),
    (
        "search x --index i --no-rerank --long-documents windows",
        "--long-documents windows: has no effect without",
    ),
    ("search x --index i --no-rerank --explain 1", "--explain 1: has no effect without"),
]

EMPTY = [
    ("rerank-run MADE --run RUN --output", '--output "": expected the name of a file'),
    ("rerank-run MADE --output OUT --run", '--run "": expected the name of a file'),
    ("calibrate MADE --run RUN --output", '--output "": expected the name of a file'),
    ("eval MADE --run RUN --html", '--html "": expected the name of a file'),
    ("eval MADE --run RUN --qrels", '--qrels "": expected the name of a file'),
    ("eval MADE --index", '--index "": expected a name'),
    ("eval", 'COLLECTION "": expected the name of a file or folder'),
    ("judge MADE --run RUN --run", '--run "": expected the name of a file'),
    ("rerank -q x", 'FILE "": expected the name of a file'),
    ("rerank -q x --calibration", '--calibration "": expected the name of a file'),
    ("index MADE --index", '--index "": expected a name'),
    ("index --index i", 'SOURCE "": expected a name'),
    ("index MADE --index i --embedder", '--embedder "": expected a name'),
    ("verify", 'FOLDER "": expected a name'),
    ("doctor", 'URI "": expected a name'),
    ("demo --folder", '--folder "": expected the name of a file or folder'),
]

TYPED = [
    ("--top-n 0", "--top-n 0: expected a whole number from 1"),
    ("--top-n=0", "--top-n 0: expected a whole number from 1"),
    ("--min-score 2", "--min-score 2.0: expected a number from 0 to 1"),
    ("--abstain-below nan", "--abstain-below nan: expected a number from 0 to 1"),
    ("--budget-ms=-1", "--budget-ms -1.0: expected milliseconds from 0"),
    ("--fusion-weight=-1", "--fusion-weight -1.0: expected a number from 0 to"),
]


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """A judged collection and a run over it."""
    folder = make_collection(tmp_path / "made")
    (folder / "qrels.tsv").write_text("q1\td2\t2\nq2\td4\t1\n")
    make_run(folder / "run.trec", {"q1": ["d4", "d2"], "q2": ["d1", "d4"]})
    return folder


def _words(line: str, made: Path) -> list[str]:
    names = {"MADE": made, "RUN": made / "run.trec", "OUT": made / "out"}
    return [str(names.get(word, word)) for word in line.split()]


@pytest.mark.parametrize(("line", "message"), POINTLESS)
def test_an_option_that_changes_nothing_is_refused(
    resift: Resift, made: Path, line: str, message: str
) -> None:
    assert message in resift(*_words(line, made)).error


@pytest.mark.parametrize(("line", "message"), EMPTY)
def test_an_empty_name_is_refused(
    resift: Resift, made: Path, monkeypatch: pytest.MonkeyPatch, line: str, message: str
) -> None:
    monkeypatch.chdir(made)
    before = sorted(made.rglob("*"))
    assert resift(*_words(line, made), "").error.startswith(f"error: {message}")
    assert sorted(made.rglob("*")) == before


@pytest.mark.parametrize(("options", "message"), TYPED)
def test_a_wrong_value_is_shown_as_typed(
    resift: Resift, made: Path, options: str, message: str
) -> None:
    line = resift("rerank", "-q", "x", *options.split(), made / "corpus.jsonl").error
    assert line.startswith(f"error: {message}") and "None" not in line


def test_a_compared_model_without_a_name_is_named_as_typed(resift: Resift, made: Path) -> None:
    for text in ("", " ", "?exact=false"):
        line = resift("eval", made, "--run", made / "run.trec", "--compare", text).error
        assert line.startswith(f"error: --compare {text!r}: names no model") and "None" not in line


def test_a_query_that_is_no_text_names_the_locale(resift: Resift, made: Path) -> None:
    line = resift("rerank", "-q", "x\udcff", made / "corpus.jsonl").error
    assert "lone surrogates" in line and "LC_ALL=C.UTF-8" in line


def _on_stdin(monkeypatch: pytest.MonkeyPatch, file: Path) -> None:
    buffer = io.BufferedReader(io.BytesIO(file.read_bytes()))
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(buffer))


def test_a_run_may_come_from_stdin(
    resift: Resift, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = resift("rerank-run", made, "--run", made / "run.trec", "--output", "-")
    _on_stdin(monkeypatch, made / "run.trec")
    done = resift("rerank-run", made, "--run", "-", "--output", "-")
    assert (done.code, done.out) == (0, named.out) and done.out
    _on_stdin(monkeypatch, made / "qrels.tsv")
    done = resift("eval", made, "--run", made / "run.trec", "--qrels", "-", "--json")
    assert done.code == 0 and json.loads(done.out)["queries"] == 2


def test_a_closed_stdin_is_reported(
    resift: Resift, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    line = resift("rerank-run", made, "--run", "-", "--output", made / "out").error
    assert "-: stdin is closed; name a file" in line


@pytest.mark.parametrize("line", ["judge MADE --run -", "judge - --index i",
                                  "judge MADE --run RUN --qrels -"])  # fmt: skip
def test_the_keys_of_judge_are_not_read_as_a_file(resift: Resift, made: Path, line: str) -> None:
    assert "-: stdin is read for keys; name a file" in resift(*_words(line, made)).error


def test_a_page_on_stdout_has_no_name(resift: Resift, made: Path) -> None:
    done = resift("eval", made, "--run", made / "run.trec", "--html", "-", "--depths", "2")
    assert done.code == 0 and done.out.startswith("<!") and "-: the same" not in done.err
