"""The float32 graph gives the logits that transformers and sentence-transformers gave once.

The checkpoints and logits are stored, so that this needs no torch; `make_fixtures` made them.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from convert.agreement import graph_logits
from convert.make_fixtures import FIXTURES, FOLDER
from resift.convert.families import FAMILIES

TOLERANCE = 1e-4


@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("name", FIXTURES)
def test_the_graph_gives_the_stored_logits(
    name: str, batch: int, runtime: str, tmp_path: Path
) -> None:
    stored = json.loads((FOLDER / name / "logits.json").read_text())
    pairs = [(query, text) for query, text in stored["pairs"]]
    logits = graph_logits(FOLDER / name, pairs, tmp_path, runtime, batch)
    np.testing.assert_allclose(logits, stored["logits"], atol=TOLERANCE, rtol=0)
    assert np.ptp(stored["logits"]) > 1000 * TOLERANCE


def test_every_architecture_has_a_fixture_and_all_are_small() -> None:
    kinds = {
        json.loads((FOLDER / name / "config.json").read_text())["model_type"] for name in FIXTURES
    }
    # gte under its first name; an embedder only, which test_nomic_bert makes
    assert kinds >= set(FAMILIES) - {"new", "nomic_bert"}
    assert {folder.name for folder in FOLDER.iterdir()} == set(FIXTURES)
    assert sum(file.stat().st_size for file in FOLDER.rglob("*") if file.is_file()) < 1e6
