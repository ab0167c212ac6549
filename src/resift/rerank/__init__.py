"""The second stage: text in, Ranking out. Knows nothing of indexes, files of runs or servers."""
