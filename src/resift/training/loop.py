"""The training loop: groups → loss → step. A killed run resumes at its last saved step.

AdamW with linear warm-up, then linear decay or an average over the steps (Izmailov et al. 2018,
https://arxiv.org/abs/1803.05407). The encoder, the cross-attention layers and the few other
parameters have separate learning rates. Products are bfloat16, weights float32.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from resift.errors import DatasetError, InputError
from resift.training.groups import Batches, Corpus
from resift.training.network import Network
from resift.training.recipe import LoopSpec, Recipe
from resift.training.scoring import Quality, accuracy, loss, measure, score

STATE = "state.pt"
HISTORY = "history.jsonl"
REPORT_EVERY = 20
CROSS_ATTENTION = "cross_attention."
HEAD = ("cross_attention.share", "late", "bias")  # the few numbers outside the layers
DEV_QUERIES = 20  # per source, to measure quality during training


@dataclass(frozen=True, slots=True)
class Report:
    """One line of `HISTORY`."""

    step: int
    loss: float
    accuracy: float
    seconds: float
    dev: float | None = None
    dev_early: float | None = None


def train(network: Network, corpora: Sequence[Corpus], recipe: Recipe, folder: Path) -> None:
    """Run the recipe's steps in `folder`, or resume the run that is there.

    At the end the network has its best measured weights with `early_stopping_patience`, or averaged
    weights with `averaged`. Raises `InputError` if `folder` has another run or the recipe has both
    settings, and `DatasetError` if no list has a relevant document to train or to measure on.
    """
    spec = recipe.loop
    _check(corpora, spec, folder)
    folder.mkdir(parents=True, exist_ok=True)
    batches = Batches(corpora, spec.queries, spec.documents, recipe.seed)
    optimiser = _optimiser(network, spec)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, spec))
    stopping, average = EarlyStopping(spec.early_stopping_patience), Average()
    identity = _identity(network, corpora, recipe)
    run = _TrainingRun(identity, network, optimiser, schedule, stopping, average)
    start = run.resume(folder)
    if start == 0:
        stopping.update(0, measure(network, corpora, DEV_QUERIES), network)
        print(f"step 0: dev nDCG@10 {stopping.best:.4f}", file=sys.stderr)  # noqa: T201
    meter = _Meter()
    network.train()
    for step in range(start, spec.steps):
        if stopping.is_over:
            break
        groups = batches.at(step)
        with torch.autocast("cpu", torch.bfloat16):
            scored = score(network, groups)
        value = loss(scored, groups, recipe.loss)
        run.update(value, spec.clip)
        meter.add(float(value.detach()), accuracy(scored, groups))
        done = step + 1
        if done > spec.steps * (1 - spec.averaged):
            average.add(network)
        quality = None
        if done % spec.dev_every == 0 or done == spec.steps:
            average.swap(network)
            quality = measure(network, corpora, DEV_QUERIES)
            average.swap(network)
            stopping.update(done, quality, network)
        if quality or done % REPORT_EVERY == 0:
            _report(folder, meter.report(done, quality), spec.steps)
        if done % spec.save_every == 0 or done == spec.steps:
            run.save(folder, done)
    stopping.restore(network)
    average.swap(network)


def _check(corpora: Sequence[Corpus], spec: LoopSpec, folder: Path) -> None:
    if spec.averaged and spec.early_stopping_patience:
        raise InputError(
            f"averaged = {spec.averaged} and early_stopping_patience = "
            f"{spec.early_stopping_patience}: expected one of them; leave one out"
        )
    if not any(corpus.mined.dev.relevant.any() for corpus in corpora):
        raise DatasetError(
            "no held-out list has a relevant document; expected at least one to measure on"
        )
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the run")


class EarlyStopping:
    """Remembers the best weights; over after `max_worse` worse measurements in a row (0: never)."""

    def __init__(self, max_worse: int) -> None:
        self.max_worse = max_worse
        self.best = float("-inf")
        self.best_step = 0
        self.worse = 0
        self.weights: dict[str, torch.Tensor] = {}

    def update(self, step: int, quality: Quality, network: Network) -> None:
        if quality.final > self.best:
            self.best, self.best_step, self.worse = quality.final, step, 0
            if self.max_worse:
                self.weights = {name: x.clone() for name, x in network.state_dict().items()}
        else:
            self.worse += 1

    @property
    def is_over(self) -> bool:
        return bool(self.max_worse) and self.worse >= self.max_worse

    def restore(self, network: Network) -> None:
        if self.weights:
            network.load_state_dict(self.weights)


class Average:
    """The mean of the trained parameters over the added steps."""

    def __init__(self) -> None:
        self.count = 0
        self.weights: dict[str, torch.Tensor] = {}

    def add(self, network: Network) -> None:
        self.count += 1
        for name, parameter in network.named_parameters():
            if parameter.requires_grad:
                value = parameter.detach()
                mean = self.weights.setdefault(name, torch.zeros_like(value))
                mean += (value - mean) / self.count

    def swap(self, network: Network) -> None:
        """Swap the network's weights with the mean; a second call swaps them back."""
        for name, parameter in network.named_parameters():
            if name in self.weights:
                value = parameter.detach().clone()
                parameter.data.copy_(self.weights[name])
                self.weights[name] = value


class _Meter:
    """Averages since the last report."""

    def __init__(self) -> None:
        self._values: list[tuple[float, float]] = []
        self._since = time.perf_counter()

    def add(self, loss_value: float, accuracy_value: float) -> None:
        self._values.append((loss_value, accuracy_value))

    def report(self, step: int, quality: Quality | None) -> Report:
        losses, accuracies = zip(*self._values, strict=True) if self._values else ((0.0,), (0.0,))
        now = time.perf_counter()
        report = Report(
            step,
            round(sum(losses) / len(losses), 4),
            round(sum(accuracies) / len(accuracies), 4),
            round(now - self._since, 1),
            None if quality is None else round(quality.final, 4),
            None if quality is None else round(quality.early, 4),
        )
        self._values.clear()
        self._since = now
        return report


def _report(folder: Path, report: Report, steps: int) -> None:
    with (folder / HISTORY).open("a", encoding="utf-8") as stream:
        print(json.dumps(asdict(report)), file=stream)
    dev = "" if report.dev is None else f"  dev {report.dev:.4f} (early {report.dev_early:.4f})"
    print(  # noqa: T201 - progress, on stderr
        f"step {report.step}/{steps}  loss {report.loss:.4f}  in-group {report.accuracy:.3f}"
        f"  {report.seconds:.0f} s{dev}",
        file=sys.stderr,
        flush=True,
    )


def _rate(step: int, spec: LoopSpec) -> float:
    warm = max(int(spec.warmup * spec.steps), 1)
    if spec.averaged:
        return min((step + 1) / warm, 1.0)
    return min((step + 1) / warm, max(spec.steps - step, 0) / max(spec.steps - warm, 1))


def _optimiser(network: Network, spec: LoopSpec) -> torch.optim.AdamW:
    """AdamW over the trained parameters. Freezes the word table: a run sees few of its rows."""
    network.embeddings["word_embeddings"].requires_grad_(False)
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if spec.rate == 0 and not name.startswith(CROSS_ATTENTION):
            parameter.requires_grad_(False)
        if parameter.requires_grad:
            rate = spec.rate
            if name.startswith(HEAD):
                rate = spec.head_rate
            elif name.startswith(CROSS_ATTENTION):
                rate = spec.cross_attention_rate
            decay = spec.decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "lr": rate, "weight_decay": decay}
            for (rate, decay), parameters in groups.items()
        ]
    )


def _identity(network: Network, corpora: Sequence[Corpus], recipe: Recipe) -> str:
    """A hash of everything that determines the result: recipe, data and initial weights."""
    digest = hashlib.sha256(repr(recipe).encode())
    for corpus in corpora:
        mined = corpus.mined
        digest.update(repr((mined.name, mined.texts, mined.query_texts)).encode())
        for lists in (mined.train, mined.dev):
            for array in (lists.queries, lists.documents, lists.relevant):
                digest.update(array.tobytes())
        digest.update(corpus.teacher.tobytes() + corpus.first_stage.tobytes())
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _TrainingRun:
    """The state that changes from step to step, and the identity of the run."""

    identity: str
    network: Network
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    stopping: EarlyStopping
    average: Average

    def update(self, loss_value: torch.Tensor, clip: float) -> None:
        """Take a step of the optimiser."""
        self.optimiser.zero_grad(set_to_none=False)  # keeps its memory
        loss_value.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), clip)
        self.optimiser.step()
        self.schedule.step()

    def save(self, folder: Path, step: int) -> None:
        """Write the state to a temporary file and rename it."""
        state = {
            "step": step,
            "run": self.identity,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "stopping": vars(self.stopping),
            "average": vars(self.average),
        }
        torch.save(state, folder / f"{STATE}.new")
        os.replace(folder / f"{STATE}.new", folder / STATE)

    def resume(self, folder: Path) -> int:
        """Restore the state in `folder`, if any; returns the number of finished steps."""
        file = folder / STATE
        if not file.is_file():
            return 0
        state = torch.load(file, weights_only=True)
        if state["run"] != self.identity:
            raise InputError(
                f"{folder}: has a run with another recipe, data or base; name another folder"
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        vars(self.stopping).update(state["stopping"])
        vars(self.average).update(state["average"])
        step: int = state["step"]
        print(f"resuming at step {step}", file=sys.stderr)  # noqa: T201
        _truncate(folder / HISTORY, step)
        return step


def _truncate(history: Path, step: int) -> None:
    """Remove reports of steps after `step`, because these steps run again."""
    lines = history.read_text(encoding="utf-8").splitlines() if history.is_file() else []
    lines = [line for line in lines if json.loads(line)["step"] <= step]
    history.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
