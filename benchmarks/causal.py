"""How long does a causal reranker take? Qwen3-Reranker-0.6B's shape, beside transformers.

Weights are random, and the same for both. A call scores 20 candidates of 150 tokens after a prompt
of the published length: `Reranker.score` in int8, and in float32 by transformers, which
reads the whole prompt of each pair and multiplies the vocabulary with the last token only. Rounds
of both take turns.

    python benchmarks/causal.py [--rounds 3] [--folder FOLDER] [--runtime openvino]
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import WordLevel

from resift import Reranker
from resift.convert.causal import STAGE
from resift.convert.causal_checkpoint import CausalWeights
from resift.convert.causal_graph import write_graph
from resift.convert.causal_products import Int8
from resift.convert.causal_prompts import AnswerTokens
from resift.convert.config import Config
from resift.convert.families.decoders import PREFIX, decoder_of
from resift.convert.output import new_manifest
from resift.convert.safetensors_files import StoredWeights
from resift.rerank.artifact import TOKENIZER, write_manifest
from resift.rerank.causal_prompt import CausalPrompt
from resift.settings import Settings

VOCABULARY = 151_669
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40_960,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1_000_000.0,
    "tie_word_embeddings": True,
}
CANDIDATES, TOKENS, QUERY_TOKENS = 20, 150, 10
PREFIX_TOKENS, MIDDLE_TOKENS, SUFFIX_TOKENS = 58, 5, 9  # of the published prompt, by its tokenizer
BATCH = 4  # the fastest of 1, 2, 4, 10 and 20 for transformers
YES, NO = 9693, 2152
LIMIT = 2048

Floats = NDArray[np.float64]


def main() -> None:
    """Print both times and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--folder", type=Path, help="for the models, which another run takes from there"
    )
    parser.add_argument("--runtime", default="openvino")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or Path(temporary)
        checkpoint, artifact = folder / "checkpoint", folder / "artifact"
        if not (checkpoint / "config.json").is_file():
            _write_checkpoint(checkpoint)
        seconds = 0.0
        if not (artifact / "manifest.json").is_file():
            start = time.perf_counter()
            _write_artifact(checkpoint, artifact)
            seconds = time.perf_counter() - start
        written_mb = _peak_mb()
        result = _compare(checkpoint, artifact, arguments.runtime, arguments.rounds)
        size = sum(file.stat().st_size for file in artifact.iterdir()) / 1e6
    result |= {
        "candidates": CANDIDATES,
        "tokens": TOKENS,
        "runtime": arguments.runtime,
        "artifact_mb": round(size),
        "writing_s": round(seconds, 1),
        "peak_mb_after_writing": written_mb,
    }
    print(json.dumps(result))


def _peak_mb() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _write_checkpoint(folder: Path) -> None:
    """A random decoder in bfloat16, as published ones are."""
    torch.manual_seed(0)
    auto: Any = transformers.AutoConfig
    make: Any = transformers.AutoModelForCausalLM
    model = make.from_config(auto.for_model("qwen3", **SHAPE))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("norm.weight"):
                parameter.normal_(1, 0.1)
            else:
                parameter.normal_(0, 1 if "embed" in name else parameter.shape[1] ** -0.5)
    model.to(torch.bfloat16).save_pretrained(folder)


def _write_artifact(checkpoint: Path, folder: Path) -> None:
    """The int8 artifact, with a prompt of as many tokens as the published one."""
    folder.mkdir(parents=True)
    words = {f"w{number}": number for number in range(VOCABULARY)}
    tokenizer = Tokenizer(WordLevel(words, unk_token="w0"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(folder / TOKENIZER))
    config = Config.read(checkpoint)
    stored = StoredWeights(checkpoint, lambda name: name.removeprefix(PREFIX))
    weights = CausalWeights(stored, AnswerTokens(YES, NO))
    write_graph(
        folder / STAGE, weights, decoder_of(config, checkpoint).shape(config), LIMIT, Int8()
    )
    ids = np.random.default_rng(2).integers(0, len(words), 100).tolist()
    first, second = PREFIX_TOKENS, PREFIX_TOKENS + MIDDLE_TOKENS
    prompt = CausalPrompt(
        tuple(ids[:first]),
        "",
        "",
        tuple(ids[first:second]),
        " ",
        tuple(ids[second : second + SUFFIX_TOKENS]),
    )
    manifest = new_manifest("causal", "random-qwen3", folder, [STAGE], LIMIT, int8=True)
    write_manifest(folder, replace(manifest, causal=prompt))


def _compare(checkpoint: Path, artifact: Path, runtime: str, rounds: int) -> dict[str, Any]:
    """Medians in seconds, the ratio of times and its range over rounds."""
    rng = np.random.default_rng(1)
    query_ids = rng.integers(0, VOCABULARY, QUERY_TOKENS).tolist()
    documents = rng.integers(0, VOCABULARY, (CANDIDATES, TOKENS)).tolist()
    query, texts = _text(query_ids), [_text(ids) for ids in documents]
    reranker = Reranker(artifact, settings=Settings(runtime=runtime))
    prompt = json.loads((artifact / "manifest.json").read_text())["causal"]
    before = [*prompt["prefix"], *query_ids, *prompt["middle"]]
    rows = torch.tensor([[*before, *ids, *prompt["suffix"]] for ids in documents])
    load: Any = transformers.AutoModelForCausalLM
    model = load.from_pretrained(checkpoint, dtype=torch.float32).eval()

    def ours() -> Floats:
        logits: Floats = reranker.score(query, texts).astype(np.float64)
        return logits

    def theirs() -> Floats:
        with torch.inference_mode():
            parts = [model(part, logits_to_keep=1).logits[:, -1] for part in rows.split(BATCH)]
        last = torch.cat(parts)
        logits: Floats = (last[:, YES] - last[:, NO]).numpy().astype(np.float64)
        return logits

    ways: dict[str, Callable[[], Floats]] = {"resift_int8": ours, "transformers_float32": theirs}
    times: dict[str, list[float]] = {name: [] for name in ways}
    logits: dict[str, Floats] = {}
    for _ in range(rounds + 1):  # the first one prepares both
        for name, way in ways.items():
            start = time.perf_counter()
            logits[name] = way()
            times[name].append(time.perf_counter() - start)
    first, second = (values[1:] for values in times.values())
    ratios = [b / a for a, b in zip(first, second, strict=True)]
    result: dict[str, Any] = {
        name: {
            "median_s": round(statistics.median(values[1:]), 2),
            "lowest_s": round(min(values[1:]), 2),
            "highest_s": round(max(values[1:]), 2),
        }
        for name, values in times.items()
    }
    measured, exact = logits.values()
    return result | {
        "times_faster": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
        "rounds": rounds,
        "correlation": round(float(np.corrcoef(measured, exact)[0, 1]), 4),
        "difference": round(float(np.abs(measured - exact).max()), 3),
        "deviation": round(float(exact.std()), 3),
    }


def _text(ids: list[int]) -> str:
    return " ".join(f"w{number}" for number in ids)


if __name__ == "__main__":
    main()
