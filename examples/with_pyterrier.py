"""Does reranking make my first stage better? A PyTerrier experiment tells.

Run: pip install 'resift[pyterrier]', then python examples/with_pyterrier.py. It needs no Java, and
nothing is downloaded.
"""

import pandas as pd
import pyterrier as pt

from resift.integrations.pyterrier import ResiftReranker

PASSAGES = {
    "change": "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    "team": "How can I add people to my plan? Open Team, and choose Invite.",
    "pause": "Can I pause my plan? Yes, for up to three months, and you keep your data.",
    "cancel": "You stop paying for the plan at the end of the month in which you cancel it.",
    "refund": "Money for unused days is sent back to the card within a week.",
}

# 1. Topics and qrels: questions, and the passages that answer them. `pt.get_dataset` has many.
topics = pd.DataFrame(
    [["1", "How can I cancel my plan?"], ["2", "Can I get my money back?"]],
    columns=["qid", "query"],
)
qrels = pd.DataFrame([["1", "cancel", 1], ["2", "refund", 1]], columns=["qid", "docno", "label"])


# 2. The first stage. With Java, that is `pt.terrier.Retriever(index) >> pt.text.get_text(dataset)`:
#    a results frame with the column `text`. This one counts shared words.
def words(text: str) -> set[str]:
    """The words of a text, in lower case."""
    return {word.strip(".,:?").lower() for word in text.split()}


def by_shared_words(queries: pd.DataFrame) -> pd.DataFrame:
    """All passages for each query; the score is the number of shared words."""
    rows = [
        [query.qid, query.query, docno, text, float(len(words(query.query) & words(text)))]
        for query in queries.itertuples()
        for docno, text in PASSAGES.items()
    ]
    frame = pd.DataFrame(rows, columns=["qid", "query", "docno", "text", "score"])
    return pt.model.add_ranks(frame)


first_stage = pt.apply.generic(by_shared_words)

# 3. The second stage reads the query and each text together. One call ranks all queries, in shared
#    batches. `% 2` cuts; `compile` tells the reranker of the cut, so that it can drop candidates
#    early that will not be among the first two.
reranked = first_stage >> ResiftReranker()
fast = (first_stage % 100 >> ResiftReranker() % 2).compile()

# 4. The table. A row without a score, such as one without text, stays behind the others with a
#    negative score, and `relevance_status` tells why.
print(reranked.search("How can I cancel my plan?")[["docno", "score", "relevance_status", "rank"]])
table = pt.Experiment(
    [first_stage, reranked, fast],
    topics,
    qrels,
    eval_metrics=["recip_rank"],
    names=["first stage", "reranked", "reranked, first two"],
    plan="tree",  # run what the pipelines share, here the first stage, once
    verbose=False,
)
print(table)
