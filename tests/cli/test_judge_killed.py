"""A session that is killed with ``kill -9`` loses nothing, and the next one continues there."""

import random
import subprocess
import sys
from itertools import count
from pathlib import Path

from cli.command import PROGRAM
from evaluation.small_collection import json_lines, make_run
from resift.evaluation.trec import read_qrels

QUERIES = [f"q{number}" for number in range(6)]
DOCUMENTS = [f"d{number}" for number in range(15)]
PAIRS = len(QUERIES) * len(DOCUMENTS)


def make(folder: Path) -> Path:
    names = [{"_id": name, "text": f"text of {name}"} for name in DOCUMENTS]
    (folder / "corpus.jsonl").write_text(json_lines(names))
    asked = [{"_id": name, "text": f"query {name}"} for name in QUERIES]
    (folder / "queries.jsonl").write_text(json_lines(asked))
    return make_run(folder / "run.trec", {name: DOCUMENTS for name in QUERIES})


def judged(file: Path) -> list[tuple[str, str]]:
    """Pairs in the file's order; fails for a line that is not a judgment."""
    qrels = read_qrels(file) if file.exists() else {}
    return [(query_id, doc_id) for query_id, grades in qrels.items() for doc_id in grades]


def killed_at(number: int, folder: Path, run: Path) -> bool:
    """Judge all, and kill it at the `number`-th candidate; whether that was reached."""
    command = ["judge", str(folder), "--run", str(run), "--pool", str(len(DOCUMENTS))]
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        assert process.stdin and process.stdout
        process.stdin.write(b"1\n" * PAIRS)
        process.stdin.flush()
        shown = count(1)
        for line in process.stdout:
            if line.startswith(b"query ") and next(shown) == number:
                process.kill()
                return True
    return False


def test_judgments_are_on_disk_after_a_kill(tmp_path: Path) -> None:
    run, file = make(tmp_path), tmp_path / "judgments.tsv"
    rng = random.Random(3)
    before: list[tuple[str, str]] = []
    kills = 0
    while len(before) < PAIRS:
        number = rng.randint(2, 25)
        was_killed = killed_at(number, tmp_path, run)
        kills += was_killed
        after = judged(file)
        assert after[: len(before)] == before
        if was_killed:
            assert len(after) >= len(before) + number - 1
        before = after
    assert kills >= 4 and len(file.read_text().splitlines()) == 1 + PAIRS
