"""My documents are in SQLite with FTS5: how do I rerank what it finds?

Run: pip install resift, then python examples/first_stage_sqlite.py. Nothing is downloaded.
"""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from resift import TwoStage
from resift.retrievers.sqlite import SqliteRetriever
from resift.types import Ranking

QUESTION = "How can I end my subscription plan?"

NOTES = [
    ("size", "How can I change my plan? Open Settings, choose Plan, and pick another size."),
    ("people", "How can I add people to my plan? Open Team, and choose Invite."),
    ("trial", "At the end of a trial your plan becomes the free plan."),
    (
        "stop",
        "To cancel a subscription, open Billing and press Stop. It runs on for a month.",
    ),
    ("invoices", "Invoices are in the archive of your account."),
]

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder) / "notes.db"

    # A table as you may have it, and an FTS5 table over its texts.
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE notes (number INTEGER PRIMARY KEY, name TEXT, body TEXT)")
        connection.executemany("INSERT INTO notes (name, body) VALUES (?, ?)", NOTES)
        connection.execute(
            "CREATE VIRTUAL TABLE notes_fts USING fts5(body, content=notes, content_rowid=number)"
        )
        connection.execute("INSERT INTO notes_fts (notes_fts) VALUES ('rebuild')")
        connection.commit()

    # 1. The retriever asks FTS5 for any of the question's words. No word of it is syntax: quotes,
    #    AND and NEAR are only text. It opens the file for reading, one connection a thread at work.
    retriever = SqliteRetriever(path, "notes", fts="notes_fts", id="name", text="body")
    print("FTS5 alone:", [candidate.id for candidate in retriever(QUESTION, 3)])

    # 2. TwoStage adds the second stage, with the deadline and the receipt of an index's search.
    #    If the reranker is late or fails, the order is that of FTS5, and the receipt tells why.
    with TwoStage(retriever) as stages:
        ranking: Ranking = stages.search(QUESTION, top_n=3, budget_ms=10_000)
        for hit in ranking:
            print(f"{hit.rank}. {hit.id} (was {hit.first_stage_rank}): {hit.text}")
        print("partial:", ranking.receipt.partial, "candidates:", ranking.receipt.depth)

    # 3. Does it help on your own questions? With judged questions in a folder, this tells:
    #    resift eval FOLDER --first-stage SPEC, where SPEC is
    #    "sqlite:notes.db?table=notes&fts=notes_fts&id=name&text=body".
