"""My documents are in Elasticsearch (or OpenSearch). How do I rerank what it finds?

Run: pip install 'resift[elasticsearch]', then
python examples/first_stage_elasticsearch.py http://localhost:9200 MY_INDEX "my question"
The fields are `title` and `text` here: change step 1 to yours. The index is only read.
"""

import sys

from elasticsearch import Elasticsearch

from resift import TwoStage
from resift.retrievers.elasticsearch import ElasticsearchRetriever

if len(sys.argv) != 4:
    sys.exit("usage: first_stage_elasticsearch.py URL INDEX QUESTION")
url, index, question = sys.argv[1:]

# 1. Your own client: its credentials, timeouts and retries apply. For OpenSearch it is an
#    OpenSearch(url) and resift.retrievers.opensearch.OpenSearchRetriever; the rest is the same.
with Elasticsearch(url) as client:
    # Any word of the question may match, in both fields; a match in the title counts twice. With
    # vector="embedding" and embed=…, the model that made that field, the search is hybrid.
    first_stage = ElasticsearchRetriever(
        client, index, text="text", title="title", search_fields=["title^2", "text"]
    )

    # 2. Both stages: 50 documents of Elasticsearch, the best five after reading them, in at most
    #    two seconds. What was not ready by then is missing, and the receipt tells so. The model is
    #    loaded before, as a server would at its start.
    with TwoStage(first_stage) as stages:
        stages.load()
        ranking = stages.search(question, top_n=5, depth=50, budget_ms=2_000)

for hit in ranking:
    was = f"was {hit.first_stage_rank}"
    print(f"{hit.rank}. ({was})  {hit.title or hit.id}: {' '.join(hit.text.split())[:80]}")

# 3. An error of Elasticsearch is raised as the client raises it. A search that did not reach all
#    shards is an error too, unless you pass allow_partial=True.
if ranking.receipt.partial:
    print("not complete:", ranking.receipt.reason)
