"""The loop: groups → loss → step, saved so that a killed run goes on at the step where it was.

AdamW with linear warm-up, then decay or an average over the steps (Izmailov et al. 2018,
https://arxiv.org/abs/1803.05407); the encoder, the meeting's layers and the few numbers beside
them have rates of their own. bfloat16 inside the products, float32 weights. Prints one line a
report to stderr.
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
from resift.training.dev import Quality, measure
from resift.training.groups import Batches, Corpus
from resift.training.loss import accuracy, loss, score
from resift.training.network import Network
from resift.training.recipe import LoopSpec, Recipe

STATE = "state.pt"
HISTORY = "history.jsonl"
REPORT_EVERY = 20
CROSS_ATTENTION = "meeting."
HEAD = ("meeting.share", "late", "bias")  # few numbers, and no layers
DEV_QUERIES = 20  # a source, while training; all of them are measured at the end


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
    """Run the recipe's steps in `folder`, going on from what an earlier run left there.

    With `patience`, stops once that many measurements in a row are below the best, and the
    network ends as it was at the best; with `averaged`, it ends as the average. Raises `InputError`
    where `folder` holds another run or the recipe asks for both, and `DatasetError` where there is
    nothing to learn from or nothing to measure on.
    """
    spec = recipe.loop
    _check(corpora, spec, folder)
    folder.mkdir(parents=True, exist_ok=True)
    batches = Batches(corpora, spec.queries, spec.documents, recipe.seed)
    optimiser = _optimiser(network, spec)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, spec))
    guard = EarlyStopping(spec.patience)
    average = Average()
    run = _TrainingRun(
        _identity(network, corpora, recipe), network, optimiser, schedule, guard, average
    )
    start = run.resume(folder)
    if start == 0:
        guard.see(0, measure(network, corpora, DEV_QUERIES), network)
        print(f"step 0: dev nDCG@10 {guard.best:.4f}", file=sys.stderr)  # noqa: T201
    meter = _Meter()
    network.train()
    for step in range(start, spec.steps):
        if guard.given_up:
            break
        groups = batches.at(step)
        with torch.autocast("cpu", torch.bfloat16):
            scored = score(network, groups)
        value = loss(scored, groups, recipe.loss)
        optimiser.zero_grad(set_to_none=False)  # keeps its memory
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), spec.clip)
        optimiser.step()
        schedule.step()
        meter.add(float(value.detach()), accuracy(scored, groups))
        done = step + 1
        if done > spec.steps * (1 - spec.averaged):
            average.add(network)
        quality = None
        if done % spec.dev_every == 0 or done == spec.steps:
            average.swap(network)
            quality = measure(network, corpora, DEV_QUERIES)
            average.swap(network)
            guard.see(done, quality, network)
        if quality or done % REPORT_EVERY == 0:
            _report(folder, meter.report(done, quality), spec.steps)
        if done % spec.save_every == 0 or done == spec.steps:
            run.save(folder, done)
    guard.restore(network)
    average.swap(network)


def _check(corpora: Sequence[Corpus], spec: LoopSpec, folder: Path) -> None:
    if spec.averaged and spec.patience:
        raise InputError(
            f"averaged = {spec.averaged} and patience = {spec.patience}: a run ends as its average "
            "or at its best; drop one"
        )
    if not any(own.mined.dev.relevant.any() for own in corpora):
        raise DatasetError("no held-out list has an answer in it, so nothing can be measured")
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder}: is a file; name a folder for the run")


class EarlyStopping:
    """Remembers the best weights; gives up after `patience` measurements below them (0: never)."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.best = float("-inf")
        self.best_step = 0
        self.worse = 0
        self.weights: dict[str, torch.Tensor] = {}

    def see(self, step: int, quality: Quality, network: Network) -> None:
        if quality.mean > self.best:
            self.best, self.best_step, self.worse = quality.mean, step, 0
            if self.patience:
                self.weights = {n: own.clone() for n, own in network.state_dict().items()}
        else:
            self.worse += 1

    @property
    def given_up(self) -> bool:
        return bool(self.patience) and self.worse >= self.patience

    def restore(self, network: Network) -> None:
        if self.weights:
            network.load_state_dict(self.weights)


class Average:
    """The mean of what is trained, over the steps added so far; nothing before the first."""

    def __init__(self) -> None:
        self.count = 0
        self.weights: dict[str, torch.Tensor] = {}

    def add(self, network: Network) -> None:
        self.count += 1
        for name, own in network.named_parameters():
            if own.requires_grad:
                now = own.detach()
                mean = self.weights.setdefault(name, torch.zeros_like(now))
                mean += (now - mean) / self.count

    def swap(self, network: Network) -> None:
        """Exchange the network's weights with the mean: once to use it, again to go on."""
        for name, own in network.named_parameters():
            if name in self.weights:
                now = own.detach().clone()
                own.data.copy_(self.weights[name])
                self.weights[name] = now


class _Meter:
    """Means since the last report."""

    def __init__(self) -> None:
        self._values: list[tuple[float, float]] = []
        self._since = time.perf_counter()

    def add(self, loss_value: float, right: float) -> None:
        self._values.append((loss_value, right))

    def report(self, step: int, quality: Quality | None) -> Report:
        losses, rights = zip(*self._values, strict=True) if self._values else ((0.0,), (0.0,))
        now = time.perf_counter()
        report = Report(
            step,
            round(sum(losses) / len(losses), 4),
            round(sum(rights) / len(rights), 4),
            round(now - self._since, 1),
            None if quality is None else round(quality.mean, 4),
            None if quality is None else round(quality.mean_early, 4),
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
    """The word table stays as it is: few of its rows are seen, and the rest must still fit them."""
    network.embeddings["word_embeddings"].requires_grad_(False)
    for name, parameter in network.named_parameters():
        if spec.rate == 0 and not name.startswith(CROSS_ATTENTION):
            parameter.requires_grad_(False)
    parts: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            rate = spec.rate
            if name.startswith(HEAD):
                rate = spec.head_rate
            elif name.startswith(CROSS_ATTENTION):
                rate = spec.cross_attention_rate
            decay = spec.decay if parameter.ndim > 1 else 0.0
            parts.setdefault((rate, decay), []).append(parameter)
    return torch.optim.AdamW(
        [{"params": own, "lr": lr, "weight_decay": decay} for (lr, decay), own in parts.items()]
    )


def _identity(network: Network, corpora: Sequence[Corpus], recipe: Recipe) -> str:
    """Names all that decides where a run goes: recipe, data and the weights at its start."""
    digest = hashlib.sha256(repr(recipe).encode())
    for corpus in corpora:
        mined = corpus.mined
        digest.update(repr((mined.name, mined.texts, mined.query_texts)).encode())
        for lists in (mined.train, mined.dev):
            for array in (lists.queries, lists.documents, lists.relevant):
                digest.update(array.tobytes())
        digest.update(corpus.teacher.tobytes() + corpus.first_stage.tobytes())
    for name, own in network.state_dict().items():
        digest.update(name.encode() + own.numpy().tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class _TrainingRun:
    """All that changes from step to step, under a name that says which run it is."""

    identity: str
    network: Network
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR
    guard: EarlyStopping
    average: Average

    def save(self, folder: Path, step: int) -> None:
        """Written beside and moved over: a kill leaves the old state or the new one."""
        state = {
            "step": step,
            "run": self.identity,
            "network": self.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.schedule.state_dict(),
            "guard": vars(self.guard),
            "average": vars(self.average),
        }
        torch.save(state, folder / f"{STATE}.new")
        os.replace(folder / f"{STATE}.new", folder / STATE)

    def resume(self, folder: Path) -> int:
        """Go on from what is saved in `folder`; the steps that are done, 0 where there are none."""
        file = folder / STATE
        if not file.is_file():
            return 0
        state = torch.load(file, weights_only=True)
        if state["run"] != self.identity:
            raise InputError(
                f"{folder}: holds a run of another recipe, other data or another base; name another"
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.schedule.load_state_dict(state["schedule"])
        vars(self.guard).update(state["guard"])
        vars(self.average).update(state["average"])
        step: int = state["step"]
        print(f"going on at step {step}", file=sys.stderr)  # noqa: T201
        _forget_after(folder / HISTORY, step)
        return step


def _forget_after(history: Path, step: int) -> None:
    """Reports of steps that were not saved come again."""
    lines = history.read_text(encoding="utf-8").splitlines() if history.is_file() else []
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    history.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
