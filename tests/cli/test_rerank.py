"""``resift rerank``: lines in, hits out, and no line spoils the others."""

import gzip
import json
from pathlib import Path

import pytest

from cli.command import Resift, process
from resift import Reranker
from resift.cli.rerank import read_candidates
from resift.settings import Settings
from transport.peer import serving

QUERY = "what stops an object from being deleted"
LINES = [
    "A bucket has an owner.",
    "Object lock keeps an object from being deleted until a date.",
    "Functions run code.",
]
FIELDS = [
    "rank", "index", "id", "score", "logit", "text", "first_stage_rank", "first_stage_score",
    "tokens_seen", "tokens_dropped", "span", "status", "title", "metadata", "stages", "fusion",
    "feedback",
    "dropped_counted",
    "citation",
    "windows",
    "unknown_share",
]  # fmt: skip


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    file = tmp_path / "lines.txt"
    file.write_text("\n".join(LINES) + "\n")
    return file


def _json_file(tmp_path: Path, *rows: object) -> Path:
    file = tmp_path / "lines.jsonl"
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    file.write_text("\n".join(lines) + "\n")
    return file


def test_plain_lines_come_back_as_the_library_ranks_them(resift: Resift, plain: Path) -> None:
    done = resift("rerank", "--query", QUERY, plain, "--jsonl")
    assert done.code == 0 and done.err == ""
    expected = Reranker().rank(QUERY, LINES)
    assert [row["text"] for row in done.rows] == [hit.text for hit in expected]
    assert [row["logit"] for row in done.rows] == [hit.logit for hit in expected]
    assert [row["id"] for row in done.rows] == [str(hit.index + 1) for hit in expected]
    assert done.rows[0]["id"] == "2"
    assert [list(row) for row in done.rows] == [FIELDS] * 3


def test_people_get_a_table_on_stdout_and_the_receipt_on_stderr(
    resift: Resift, plain: Path
) -> None:
    done = resift("rerank", "-q", QUERY, plain)
    assert done.code == 0
    assert done.out.splitlines()[1].split()[:2] == ["1", "2"]
    assert all(line.split()[0] in done.out for line in LINES)
    assert done.err.startswith("3 of 3 scored") and len(done.err.splitlines()) == 1


def test_long_documents_are_read_in_windows(resift: Resift, tmp_path: Path) -> None:
    filler = "The committee met on Tuesday to discuss the annual budget. " * 80
    answer = "Object lock keeps an object from being deleted until a date."
    file = tmp_path / "long.txt"
    file.write_text(f"{filler}\n{filler}{answer}\n深圳 圳\n")
    done = resift("rerank", "-q", QUERY, file, "--json", "--long-documents", "windows")
    document = json.loads(done.out)
    first, second, unknown = document["hits"]
    assert (first["id"], first["windows"], second["windows"]) == ("2", 4, 4)
    start, end = first["span"]
    assert start > 512 and answer in first["text"][start:end]
    assert (unknown["unknown_share"], document["receipt"]["mostly_unknown"]) == (1.0, 1)
    assert (document["receipt"]["windowed"], document["receipt"]["windows"]) == (2, 8)
    done = resift("rerank", "-q", QUERY, file, "--long-documents", "windows")
    assert "2 long, read in 8 windows" in done.err and "1 mostly unknown" in done.err
    done = resift("rerank", "-q", QUERY, file, "--long-documents", "all")
    assert done.code == 2 and "windows" in done.err


def test_candidates_come_through_a_real_pipe() -> None:
    data = "\ufeffA bucket.\r\n\n   \nObject lock keeps an object é 物.\r\n".encode()
    done = process("rerank", "--query", QUERY, "--jsonl", "-", stdin=data)
    assert done.code == 0 and done.err == ""
    assert [(row["id"], row["text"]) for row in done.rows] == [
        ("4", "Object lock keeps an object é 物."),
        ("1", "A bucket."),
    ]


def test_json_lines_carry_id_title_score_and_the_rest(resift: Resift, tmp_path: Path) -> None:
    first = {"id": "a", "text": LINES[0], "title": "Owners", "score": 3, "page": 4, "rank": 9}
    second = {"_id": 7, "text": LINES[1], "score": 1.5, "metadata": {"tags": ["x"]}}
    done = resift("rerank", "--query", QUERY, "--jsonl", _json_file(tmp_path, first, second))
    rows = {row["id"]: row for row in done.rows}
    assert rows["a"]["title"] == "Owners" and rows["a"]["metadata"] == {"page": 4}
    assert rows["7"]["metadata"] == {"tags": ["x"]}
    assert (rows["a"]["first_stage_score"], rows["7"]["first_stage_score"]) == (3.0, 1.5)
    assert (rows["a"]["first_stage_rank"], rows["7"]["first_stage_rank"]) == (9, 2)


@pytest.mark.parametrize("bad", ["not json", '{"id": "x"}', "[1]", '{"text": "cut'])
def test_a_bad_json_line_is_named_and_the_rest_ranked(
    resift: Resift, tmp_path: Path, bad: str
) -> None:
    file = _json_file(tmp_path, {"text": LINES[0]}, bad, {"text": LINES[1]})
    done = resift("rerank", "--query", QUERY, "--jsonl", file)
    assert done.code == 0
    assert [row["status"] for row in done.rows] == ["ok", "ok", "not_text"]
    assert done.rows[2]["id"] == "2"
    assert len(done.err.splitlines()) == 1 and f"{file.name}:2: " in done.err


def test_a_text_that_is_not_a_string_becomes_a_hit_with_a_status(
    resift: Resift, tmp_path: Path
) -> None:
    texts = [LINES[0], None, 5, "", "\udcff"]
    file = _json_file(tmp_path, *({"text": text} for text in texts))
    done = resift("rerank", "--query", QUERY, "--jsonl", file)
    assert done.code == 0
    statuses = ["ok", "not_text", "not_text", "empty", "not_text"]
    assert [row["status"] for row in done.rows] == statuses
    assert resift("rerank", "--query", QUERY, file).code == 0


def test_invalid_utf8_affects_only_its_line() -> None:
    data = b"A bucket.\ncaf\xe9\nObject lock.\n"
    as_json = process("rerank", "--query", QUERY, "--jsonl", stdin=data)
    assert as_json.code == 0, as_json.err
    assert [row["status"] for row in as_json.rows] == ["ok", "ok", "not_text"]
    assert as_json.rows[2]["text"] == "caf\udce9"
    table = process("rerank", "--query", QUERY, stdin=data)
    assert table.code == 0, table.err
    assert "not_text" in table.out


@pytest.mark.parametrize("score", ["NaN", "Infinity", "1e999", "1" + "0" * 400])
def test_a_score_that_is_no_number_is_none(resift: Resift, tmp_path: Path, score: str) -> None:
    file = _json_file(tmp_path, f'{{"text": "a", "score": {score}}}')
    done = resift("rerank", "--query", QUERY, "--jsonl", file)
    assert done.code == 0 and done.rows[0]["first_stage_score"] is None


def test_a_line_that_only_begins_like_json_is_plain(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = ["{curly} text", "more", '{"text": "a"}']
    assert [c.text for c in read_candidates(_json_file(tmp_path, *lines))] == lines
    assert "only 1 lines are JSON objects" in capsys.readouterr().err


@pytest.mark.parametrize(
    "bad", ["{broken", "a heading", '{"text": "a", "score": ' + "9" * 5_000 + "}", "{" * 9_000]
)
def test_a_bad_first_line_affects_only_itself(
    tmp_path: Path, bad: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = _json_file(tmp_path, bad, '{"id": "a", "text": "b", "score": 2}')
    first, second = read_candidates(file)
    assert first.text is None and (second.id, second.text, second.score) == ("a", "b", 2.0)
    assert ":1: not a JSON object" in capsys.readouterr().err


def test_top_n_cuts_and_more_than_there_are_gives_all(resift: Resift, plain: Path) -> None:
    def count(*options: object) -> int:
        return len(resift("rerank", "--query", QUERY, plain, "--jsonl", *options).rows)

    assert (count("--top-n", 1), count("--top-n", 99), count()) == (1, 3, 3)
    assert "--top-n 0: expected" in resift("rerank", "--query", QUERY, plain, "--top-n", 0).error


def test_no_candidates_are_no_hits(resift: Resift, tmp_path: Path) -> None:
    file = tmp_path / "empty"
    file.write_text("\n \n")
    done = resift("rerank", "--query", QUERY, file, "--jsonl")
    assert (done.code, done.out, done.err) == (0, "", "")
    assert resift("rerank", "--query", QUERY, file).code == 0


def test_without_time_the_order_stays_and_the_receipt_says_why(resift: Resift, plain: Path) -> None:
    done = resift("rerank", "--query", QUERY, plain, "--budget-ms", 0, "--jsonl")
    assert [row["text"] for row in done.rows] == LINES
    assert "partial: time was up" in resift("rerank", "-q", QUERY, plain, "--budget-ms", 0).err


@pytest.mark.parametrize("query", ["", "  ", "word " * 600])
def test_a_query_that_cannot_be_used_is_an_error(resift: Resift, plain: Path, query: str) -> None:
    assert "query: " in resift("rerank", "--query", query, plain).error


def test_a_file_that_cannot_be_opened_is_named(resift: Resift, tmp_path: Path) -> None:
    assert "absent" in resift("rerank", "-q", QUERY, tmp_path / "absent").error
    assert "cannot be read" in resift("rerank", "-q", QUERY, tmp_path).error


def test_another_model_is_used_where_it_is_named(
    resift: Resift, plain: Path, joint_folder: Path
) -> None:
    done = resift("rerank", "-q", QUERY, plain, "--jsonl", "--model", joint_folder)
    expected = Reranker(joint_folder, settings=Settings()).rank(QUERY, LINES)
    assert [row["logit"] for row in done.rows] == [hit.logit for hit in expected]
    error = resift("rerank", "-q", QUERY, plain, "--model", "no-such").error
    assert "no-such" in error


@pytest.mark.parametrize("row", [{"body": "a", "n": 1}, {"body": "a", "text ": "b"}])
def test_json_lines_without_a_text_are_refused_with_their_fields(
    resift: Resift, tmp_path: Path, row: object
) -> None:
    file = _json_file(tmp_path, row, {"body": LINES[1]})
    error = resift("rerank", "-q", QUERY, file).error
    assert f'{file.name}:1: no "text" in this JSON object, which has "body"' in error
    assert "--text-field" in error
    assert "which has no fields" in resift("rerank", "-q", QUERY, _json_file(tmp_path, {})).error


def test_another_field_can_be_the_text(resift: Resift, tmp_path: Path) -> None:
    rows = [{"body": text, "text": number, "page": 4} for number, text in enumerate(LINES)]
    file = _json_file(tmp_path, *rows, {"text": "no body"})
    done = resift("rerank", "-q", QUERY, file, "--text-field", "body", "--jsonl")
    assert sorted(row["text"] for row in done.rows[:3]) == sorted(LINES)
    assert all(set(row["metadata"]) == {"text", "page"} for row in done.rows[:3])
    assert done.rows[3]["status"] == "not_text" and f"{file.name}:4: " in done.err
    error = resift("rerank", "-q", QUERY, file, "--text-field", "nope").error
    assert 'no "nope" in this JSON object' in error


@pytest.mark.parametrize(
    "content",
    ['[{"text": "a"},\n{"text": "b"}]', '[\n  {"text": "a"}\n]', '{\n  "text": "a"\n}',
     '["a", "b"]', '[ {"text": "a"', '[["a"]]'],
)  # fmt: skip
def test_one_json_document_is_refused(resift: Resift, tmp_path: Path, content: str) -> None:
    file = tmp_path / "rows.json"
    file.write_text(content)
    assert "rows.json:1: one JSON document" in resift("rerank", "-q", QUERY, file).error


@pytest.mark.parametrize("line", ["[1] A footnote.", "[1]", "[sic]", "{curly} text", "{", "["])
def test_brackets_are_text_where_no_json_begins(tmp_path: Path, line: str) -> None:
    file = tmp_path / "lines.txt"
    file.write_text(f"A first line.\n{line}\n")
    assert [candidate.text for candidate in read_candidates(file)] == ["A first line.", line]
    if len(line) > 1:
        file.write_text(f"{line}\n")
        assert [candidate.text for candidate in read_candidates(file)] == [line]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("a lock".encode("utf-16"), "UTF-16"),
        ("a lock".encode("utf-32"), "UTF-32"),
        ("a lock\n".encode("utf-16-le"), "UTF-16"),
        (gzip.compress(b"a lock", mtime=0), "gzip"),
        (b"PK\x03\x04....", "zip"),
        (b"PAR1....", "Parquet"),
        (b"%PDF-1.7", "PDF"),
    ],
)
def test_a_file_that_is_no_text_is_refused_with_the_remedy(
    resift: Resift, tmp_path: Path, content: bytes, what: str
) -> None:
    file = tmp_path / "file"
    file.write_bytes(content)
    error = resift("rerank", "-q", QUERY, file).error
    assert f"{file}: " in error and what in error and "UTF-8" in error


@pytest.mark.parametrize(
    "text",
    ["a\0lock", "a lock\r", "\ufeffa lock", "a\u2028lock", "a\x0block", "lock " * 200_000,
     "a\x85lock"],
    ids=range(7),
)  # fmt: skip
def test_odd_characters_are_part_of_their_line(tmp_path: Path, joint: Reranker, text: str) -> None:
    file = tmp_path / "lines.txt"
    file.write_bytes(f"{text}\nFunctions run code.\r\n\r\n".encode())
    candidates = list(read_candidates(file))
    assert [candidate.id for candidate in candidates] == ["1", "2"]
    assert candidates[0].text == text.removeprefix("\ufeff").strip()
    assert {hit.status for hit in joint.rank(QUERY, candidates)} <= {"ok", "cut"}


def test_odd_fields_are_ignored_and_the_output_is_json(
    resift: Resift, tmp_path: Path, joint_folder: Path
) -> None:
    rows = [
        {
            "text": "a lock",
            "id": None,
            "title": None,
            "rank": "abc",
            "score": "3.5",
            "metadata": [1],
        },
        '{"text": "a bucket", "id": 12345678901234567890, "title": 5, "score": NaN}',
        '{"text": "deep", "deep": [[[]]]}',
        {"text": 5, "id": True},
        {"text": None, "id": "x", "rank": -1},
        '{"text": ' + "[" * 200_000,
        '{"text": "digits", "digits": ' + "9" * 5000 + "}",
    ]
    file = _json_file(tmp_path, *rows)
    done = resift("rerank", "-q", QUERY, file, "--jsonl", "--model", joint_folder)
    assert done.code == 0, done.err
    for line in done.out.splitlines():
        json.loads(line, parse_constant=_refuse)
    by_id = {row["id"]: row for row in done.rows}
    assert sorted(by_id) == ["1", "12345678901234567890", "3", "6", "7", "True", "x"]
    assert (by_id["1"]["first_stage_score"], by_id["1"]["metadata"]) == (3.5, {"metadata": [1]})
    statuses = {name: row["status"] for name, row in by_id.items()}
    assert [name for name, status in statuses.items() if status == "not_text"] == [
        "True", "x", "6", "7"
    ]  # fmt: skip
    assert "first-stage scores not used: " in resift("rerank", "-q", QUERY, file).err


def _refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_a_closed_stdin_is_an_error_in_a_line(
    resift: Resift, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", None)
    assert "stdin is closed" in resift("rerank", "-q", QUERY).error


def test_a_name_with_colons_is_shown_as_it_is(resift: Resift, tmp_path: Path) -> None:
    file = tmp_path / "lines.txt"
    file.write_text("a line\n")
    done = resift("rerank", "--query", "a", "--model", "a:smile:b", file)
    assert (done.code, done.out) == (1, "")
    assert "a:smile:b: no such model folder" in done.err


def test_the_settings_may_name_a_service(
    resift: Resift, plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = [{"index": number, "score": number} for number in range(3)]
    with serving(lambda request: request.send(200, scores)) as peer:
        monkeypatch.setenv("RESIFT_MODEL", f"tei:{peer.url}")
        done = resift("rerank", "-q", QUERY, plain, "--jsonl")
        assert done.code == 0 and [row["index"] for row in done.rows] == [2, 1, 0]
        assert any(request.path == "/rerank" for request in peer.requests)
