"""I call sentence-transformers' CrossEncoder. How do I run the same code without torch?

Run: pip install resift, then python examples/with_cross_encoder.py. Nothing is downloaded.
"""

from resift.integrations.cross_encoder import CrossEncoder

QUESTIONS = ("How can I cancel my plan?", "How do I add people to my team?")

PASSAGES = [
    "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "You stop paying for the plan at the end of the month in which you cancel it.",
    "To invite people to your team, open Team, and choose Invite.",
]

# 1. Only the import is another one. Without a name this is the bundled model. Any cross-encoder of
#    the hub or a folder works too, such as CrossEncoder("cross-encoder/ms-marco-MiniLM-L6-v2"):
#    it is fetched and converted to int8 once, without torch. Options that decide nothing here,
#    such as device="cpu", are accepted; those that would change scores raise an error.
model = CrossEncoder()

# 2. `predict` scores pairs. They may be of many queries: batches go across queries, and the scores
#    come in the order of the pairs. A score depends on its pair alone.
pairs = [(question, passage) for question in QUESTIONS for passage in PASSAGES]
scores = model.predict(pairs, batch_size=32)
for (question, passage), score in zip(pairs, scores, strict=True):
    print(f"{score:.3f}  {question}  {passage}")

# 3. `rank` orders documents for a query. One that has no text does not spoil the call: it comes
#    last, with NaN as its score.
print(QUESTIONS[0])
for row in model.rank(QUESTIONS[0], [*PASSAGES, ""], top_k=4, return_documents=True):
    print(f"  {row['score']:.3f}  {row['corpus_id']}  {row['text']}")

# 4. What sentence-transformers does not have: a time limit, and a receipt that tells what it cost.
receipt = model.reranker.rank(QUESTIONS[0], PASSAGES, budget_ms=2_000).receipt
print(f"scored {receipt.scored} of {receipt.depth}, read {receipt.tokens} tokens")
