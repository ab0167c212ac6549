"""My passages are in a LanceDB table. How do I rerank what it finds?

Run: pip install 'resift[lancedb]', then python examples/first_stage_lancedb.py. Nothing is
downloaded: the vectors are those of the bundled embedder.
"""

import tempfile

import lancedb
from lancedb.index import FTS

from resift import TwoStage
from resift.index.embed import open_embedder
from resift.retrievers.lancedb import LanceDBRetriever
from resift.settings import Settings

QUESTION = "How can I cancel my plan?"

PASSAGES = [
    "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "How can I add people to my plan? Open Team, and choose Invite.",
    "You stop paying for the plan at the end of the month in which you cancel it.",
    "Invoices are in the archive of your account.",
]

with tempfile.TemporaryDirectory() as folder:
    # 1. A table as you may have one: text, a vector, and other columns.
    embedder = open_embedder("bundled", Settings.load())
    vectors = embedder.embed(PASSAGES)
    rows = [
        {"id": f"help-{number}", "text": text, "vector": vector.tolist(), "page": number}
        for number, (text, vector) in enumerate(zip(PASSAGES, vectors, strict=True))
    ]
    table = lancedb.connect(folder).create_table("help", rows)
    table.create_index("text", config=FTS())

    # 2. The first stage: full text and vectors; without `embed`, full text only. `where` is SQL.
    #    Columns that are not named are metadata, vectors excepted.
    first_stage = LanceDBRetriever(table, id="id", text="text", embed=embedder, where="page < 100")
    print("LanceDB:")
    for candidate in first_stage(QUESTION, 3):
        print(f"  {candidate.score:.3f}  {candidate.id}  {candidate.text}")

    # 3. Both stages.
    with TwoStage(first_stage) as stages:
        ranking = stages.search(QUESTION, top_n=3, depth=30, budget_ms=10_000)
    print("Reranked:")
    for hit in ranking:
        print(f"  {hit.score:.3f}  {hit.id}  {hit.text}  {dict(hit.metadata)}")

# To measure how much the second stage adds on your judged queries:
#   resift eval COLLECTION --first-stage 'lancedb:FOLDER?table=help&embed=bundled'
