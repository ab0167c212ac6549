"""How do I measure a reranker with MTEB, on its tasks or on my own?

Run: pip install 'resift[mteb]', then python examples/with_mteb.py. Nothing is downloaded.
"""

import mteb
from datasets import Dataset
from mteb.abstasks.retrieval import AbsTaskRetrieval
from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
from mteb.abstasks.task_metadata import TaskMetadata

from resift.integrations.mteb import ResiftCrossEncoder

CORPUS = [
    {
        "id": "change",
        "text": "How can I change my plan? Open Settings, choose Plan, and pick another size.",
    },
    {
        "id": "cancel",
        "text": "You stop paying for the plan at the end of the month in which you cancel it.",
    },
    {"id": "invite", "text": "To invite people to your team, open Team, and choose Invite."},
]
QUERIES = [
    {"id": "q1", "text": "How can I cancel my plan?"},
    {"id": "q2", "text": "How do I add people to my team?"},
]
JUDGED = {"q1": {"cancel": 1}, "q2": {"invite": 1}}


# 1. A reranking task names the candidates of each query (`top_ranked`), as a first stage found
#    them. Those of MTEB, as in mteb.get_tasks(tasks=["AskUbuntuDupQuestions"]), load from the hub;
#    this one is small and made here.
class Help(AbsTaskRetrieval):
    """Questions about a plan, with three passages each."""

    metadata = TaskMetadata(
        name="Help",
        type="Reranking",
        main_score="ndcg_at_10",
        description="Questions about a plan.",
        dataset={"path": "none", "revision": "1"},
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        modalities=["text"],
    )

    def load_data(self, num_proc: int | None = None, **options: object) -> None:
        """Put the texts where MTEB looks for them."""
        split = RetrievalSplitData(
            corpus=Dataset.from_list([{"title": "", **passage} for passage in CORPUS]),
            queries=Dataset.from_list(QUERIES),
            relevant_docs={query: dict(judged) for query, judged in JUDGED.items()},
            top_ranked={row["id"]: [passage["id"] for passage in CORPUS] for row in QUERIES},
        )
        self.dataset = {"default": {"test": split}}
        self.data_loaded = True


# 2. The model: None is the bundled one, a name one of the hub. `reranker=` takes any second stage
#    of resift. MTEB gets its fingerprint as the revision, so that results of int8 and of the
#    original model are not mixed up.
model = ResiftCrossEncoder()

# 3. The evaluation. With a cache (the default), a task that was run is not run again.
result = mteb.evaluate(model, tasks=[Help()], cache=None, show_progress_bar=False)
print(result.model_name, result.model_revision)
for task in result.task_results:
    print(task.task_name, task.get_score())
