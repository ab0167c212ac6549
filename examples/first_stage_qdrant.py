"""My passages are in Qdrant. How do I rerank what it finds?

Run: pip install 'resift[qdrant]', then python examples/first_stage_qdrant.py. Nothing is
downloaded: Qdrant runs in this process, and the vectors are those of the bundled embedder.
"""

from qdrant_client import QdrantClient, models

from resift import TwoStage
from resift.index.embed import open_embedder
from resift.retrievers.qdrant import QdrantRetriever
from resift.settings import Settings

QUESTION = "How can I cancel my plan?"

PASSAGES = [
    "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "How can I add people to my plan? Open Team, and choose Invite.",
    "You stop paying for the plan at the end of the month in which you cancel it.",
    "Invoices are in the archive of your account.",
]

# 1. A collection as you may have one: a vector and a payload a point. The embedder is any function
#    from a text to a vector, or one of resift's. It must be the model that made the vectors.
embedder = open_embedder("bundled", Settings.load())
client = QdrantClient(":memory:")  # yours: QdrantClient("https://…", api_key=…)
size = models.VectorParams(size=embedder.dim, distance=models.Distance.COSINE)
client.create_collection("help", vectors_config=size)
vectors = embedder.embed(PASSAGES)
client.upsert(
    "help",
    [
        models.PointStruct(id=number, vector=vector.tolist(), payload={"text": text, "lang": "en"})
        for number, (text, vector) in enumerate(zip(PASSAGES, vectors, strict=True))
    ],
)

# 2. The first stage. A filter is in Qdrant's own language. With a sparse vector and what encodes
#    queries for it (sparse_vector=…, sparse_embed=…), or with a text index that has scoring
#    (text_index="text"), the search is hybrid: Qdrant fuses both in one request.
english = models.FieldCondition(key="lang", match=models.MatchValue(value="en"))
first_stage = QdrantRetriever(
    client, "help", text="text", embed=embedder, where=models.Filter(must=[english])
)
print("Qdrant:")
for candidate in first_stage(QUESTION, 3):
    print(f"  {candidate.score:.3f}  {candidate.id}  {candidate.text}")

# 3. Both stages. A point's id is text here; its other payload fields are the metadata of a hit.
with TwoStage(first_stage) as stages:
    ranking = stages.search(QUESTION, top_n=3, depth=30, budget_ms=10_000)
print("Reranked:")
for hit in ranking:
    print(f"  {hit.score:.3f}  {hit.id}  {hit.text}  {dict(hit.metadata)}")

# 4. If Qdrant fails, its error is raised. If the reranker is late, the order is Qdrant's, and the
#    receipt tells so.
print("partial:", ranking.receipt.partial, "in", f"{ranking.receipt.timings_ms['total']:.0f} ms")
client.close()
