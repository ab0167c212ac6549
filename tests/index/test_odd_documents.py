"""Proves that odd documents are stored, rows_where by filters, and cited where they stand."""

import json
from pathlib import Path

from resift import Index
from resift.evaluation.first_stage import doc_id


def test_each_part_of_a_cut_table_says_its_columns_and_is_proved(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    cells = [(f"river {n}", "", f"{100 + n} km") for n in range(120)]
    rows = "".join(f"<tr>{''.join(f'<td>{cell}' for cell in row)}</tr>" for row in cells)
    page = f"<p>Rivers.</p><table><tr><th>Name<th>Sea<th>Length</tr>{rows}</table><p>The end.</p>"
    (source / "a.html").write_text(page)
    lines = "\n".join(f"| {' | '.join(row)} |" for row in cells)
    (source / "b.md").write_text(f"# Rivers\n\n| Name | Sea | Length |\n|--|--|--|\n{lines}\n")
    index = Index(str(tmp_path / "index"))
    index.sync(str(source))
    hits = [
        hit
        for query in ("river 1", "river 60", "river 119")
        for hit in index.search(query, top_n=20, rerank=False)
    ]
    assert len({hit.id for hit in hits if "river" in hit.text}) >= 6
    for hit in hits:
        assert "river" not in hit.text or "Name | Sea | Length" in hit.text
        verdict = index.verify_citation(hit.id)
        assert verdict.status == "verified"
        assert hit.citation
        assert verdict.span == (hit.citation.start, hit.citation.end)


def test_odd_rows_break_no_commit_and_no_filter(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    odd = [
        1,
        "1",
        1.5,
        True,
        None,
        [1, "a", None, {"b": 1}],
        {"": {"a.b": "'\"\\"}},
        2**63,
        -(2**63),
    ]
    odd += ["\0", "\x1a", "x" * 60_000, 5e-324, 1e308, "\uffff", "é" * 5, {}, []]
    rows = [{"id": f"r{n}", "text": f"row number {n}", "x": value} for n, value in enumerate(odd)]
    bad = [
        '{"text": "bad", "x": 1e400}',
        '{"text": "bad", "x": ' + "9" * 39 + "}",
        '{"text": "b\0d"}',
    ]
    lines = [json.dumps(row) for row in rows]
    (source / "a.jsonl").write_text("\n".join([*lines, *bad]))
    index = Index(str(tmp_path / "index"))
    report = index.sync(str(source))
    assert len([problem for _, problem in report.skipped]) == len(bad)

    def rows_where(where: str) -> set[int]:
        hits = index.search("row number", 50, rerank=False, where=where)
        return {int(doc_id(hit)[1:]) for hit in hits}

    assert rows_where("not exists(nothing)") == set(range(len(odd)))
    assert rows_where("x = 1") == {0, 5}
    assert rows_where("x = '1'") == {1}
    assert rows_where("x = true") == {3}
    assert rows_where("x > 1e300") == {13}
