"""A model folder: ``manifest.json``, ``tokenizer.json`` and ONNX files, whose hashes are checked.

The manifest holds the kind of model, its token limit, its quantisation, and its logits of a few
reference pairs, which reveal a broken copy.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from resift.errors import ArtifactError, ModelNotFound, shown
from resift.files import open_regular, read_regular, reason
from resift.rerank.batching import LENGTH_STEP
from resift.rerank.calibration import SIGMOID, ModelCalibration, Platt, ScoreScale
from resift.rerank.causal_prompt import CausalPrompt
from resift.rerank.checkpoint_files import CONFIG
from resift.rerank.late_interaction import TERM_FEATURE, LateInteractionWeights
from resift.rerank.token_vectors import TokenVectors
from resift.rerank.values import is_newer

FORMAT = 4
READABLE = (3, FORMAT)  # 4 adds the revision, the label and the report
CONVERTER_VERSION = 2  # 2 has the activation of scores
"""Part of the name of every stored model: raise it whenever `convert` would write other files."""

MAX_TOKENS = 1_048_576  # longer than any model reads
MANIFEST = "manifest.json"
_MAX_MANIFEST_BYTES = 256 << 20
_MAX_WEIGHT = 1e6  # a larger one would leave float32
TOKENIZER = "tokenizer.json"
TERM_GRAPH, QUERY_TERM_GRAPH, TERM_TABLE = "terms.onnx", "query_terms.onnx", "terms.npz"
TERM_FILES = (TERM_GRAPH, QUERY_TERM_GRAPH, TERM_TABLE)
Kind = Literal["cross_encoder", "late_interaction", "embedder", "causal", "multi_vector"]
Pooling = Literal["mean", "cls"]


@dataclass(frozen=True, slots=True)
class ReferencePair:
    """A pair with the logit from the machine that made the artifact, and the logit in float32.

    For an embedder these are cosines of query and text. They involve both prompts and change
    linearly with an error of a vector; its cosine to a reference vector changes quadratically.
    """

    query: str
    text: str
    logit: float
    logit_fp32: float


@dataclass(frozen=True, slots=True)
class Exit:
    """How the final logit differs from the logit of an earlier stage, the exit.

    `gains` are quantiles, at `levels`, of final logit minus exit logit over `pairs` unlabelled
    pairs. A candidate that is behind by more than the sum of two tails seldom catches up.
    """

    levels: tuple[float, ...]
    gains: tuple[float, ...]
    pairs: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an int8 model orders candidates beside its float32 model, measured at the conversion.

    `spearman` is the rank correlation over `pairs` that did not set activation ranges,
    `within_query` its mean over queries, `top10_overlap` the share of a query's best ten that are
    the same; each is None if float32 logits do not vary. `max_difference` is of logits.
    `float_layers` stayed float32. If `is_int8` is False, the float32 model was kept, and this is
    the best int8 model's.
    """

    spearman: float | None
    within_query: float | None
    top10_overlap: float | None
    pairs: int
    max_difference: float
    is_int8: bool = True
    float_layers: tuple[str, ...] = ()
    quantiser: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The contents of ``manifest.json``.

    `stages` are ONNX files in running order: for a late-interaction model the encoder, the late
    interaction and, if it has them, the cross-attention layers; for an embedder the encoder.
    `max_tokens`, special tokens included, limits a pair (cross-encoder, causal), query and document
    each (late interaction) or a text (embedder). `tolerance` is the allowed difference of a logit
    from its reference on another processor or runtime. `fusion_weight` is the fitted weight of
    standardised first-stage scores, in logits; `feedback_weight` that of pseudo-relevance feedback,
    which is used only with them. `exits` has an entry for each stage but the last. `calibration` is
    None if there were no judgments. `files` maps names to SHA-256. `pooling` turns token states
    into a vector. `query_prompt` is put before queries, `passage_prompt` before an embedder's
    passages. `revision` is the commit of `base_model`, `label` the relevance column that the caller
    chose, `activation` what sentence-transformers makes scores of its logits with, empty if it
    names nothing, `report` the check of the conversion. `causal` is the prompt of a causal
    reranker, `multi_vector` the settings of a multi-vector model, whose `max_tokens` limits a
    document.
    """

    name: str
    kind: Kind
    base_model: str
    licence: str
    quantisation: str
    max_tokens: int
    stages: tuple[str, ...]
    tolerance: float
    reference: tuple[ReferencePair, ...]
    files: Mapping[str, str]
    fusion_weight: float = 0.0
    feedback_weight: float = 0.0
    late_interaction: LateInteractionWeights | None = None
    embedding_tokens: int | None = None
    exits: tuple[Exit, ...] = ()
    calibration: ModelCalibration | None = None
    made_with: Mapping[str, str] = field(default_factory=dict)
    pooling: Pooling = "mean"
    query_prompt: str = ""
    passage_prompt: str = ""
    revision: str | None = None
    label: str | int | None = None
    activation: str = ""
    report: Agreement | None = None
    causal: CausalPrompt | None = None
    multi_vector: TokenVectors | None = None
    format: int = FORMAT

    @property
    def fingerprint(self) -> str:
        """16 hex digits that identify everything that decides a logit or a vector."""
        decisive: dict[str, Any] = {
            "kind": self.kind,
            "max_tokens": self.max_tokens,
            "files": dict(self.files),
            "late_interaction": self.late_interaction and self.late_interaction.stored(),
        }
        if self.kind == "embedder" or self.query_prompt:
            decisive["reading"] = [self.pooling, self.query_prompt, self.passage_prompt]
        if self.multi_vector is not None:
            decisive["multi_vector"] = self.multi_vector.decisive
        if self.causal is not None:
            decisive["causal"] = asdict(self.causal)
        return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def scale(self) -> ScoreScale:
        """The model's calibration; without one the sigmoid, or a multi-vector model's curve."""
        curves = self.calibration
        if curves is None and self.multi_vector is not None:
            return ScoreScale("none", self.multi_vector.curve, self.multi_vector.curve)
        if curves is None:
            return ScoreScale("none", SIGMOID, SIGMOID)
        return ScoreScale(
            "model", curves.plain, curves.fused, self.fusion_weight, self.feedback_weight
        )


@dataclass(frozen=True, slots=True)
class Artifact:
    """A folder whose files match its manifest."""

    folder: Path
    manifest: Manifest

    @property
    def tokenizer(self) -> Path:
        return self.folder / TOKENIZER

    @property
    def terms(self) -> list[Path]:
        """The files of term matching, in the order of `TERM_FILES`; none without it."""
        late = self.manifest.late_interaction
        return [self.folder / name for name in TERM_FILES] if late and late.terms else []

    @property
    def stages(self) -> list[Path]:
        return [self.folder / name for name in self.manifest.stages]


def load_artifact(folder: Path) -> Artifact:
    """Read and check a model folder.

    Raises `ModelNotFound` if there is no folder, and `ArtifactError` if it is not an artifact, has
    another format, or has a file that does not match its hash.
    """
    if not folder.is_dir():
        raise ModelNotFound(
            f"{folder}: no such model folder; resift models lists what there is, "
            "resift convert makes one from a checkpoint"
        )
    manifest = read_manifest(folder)
    for name, expected in manifest.files.items():
        _check_hash(folder / name, expected)
    return Artifact(folder, manifest)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``manifest.json`` with two-space indents and a final newline."""
    values = asdict(manifest)
    values["late_interaction"] = manifest.late_interaction and manifest.late_interaction.stored()
    if manifest.causal is None:
        del values["causal"]  # an older resift reads all other kinds
    if manifest.multi_vector is None:
        del values["multi_vector"]
    if not manifest.activation:
        del values["activation"]
    text = json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def sha256(file: Path) -> str:
    """Hex digest of a file's bytes."""
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _check_hash(file: Path, expected: str) -> None:
    if not file.is_file():
        raise ArtifactError(f"{file}: missing, though the manifest names it; copy the model again")
    try:
        digest = sha256(file)
    except OSError as error:  # removed meanwhile, or it may not be read
        raise ArtifactError(f"{file}: cannot be read ({reason(error)})") from error
    if digest != expected:
        raise ArtifactError(
            f"{file}: SHA-256 is {digest[:12]}…, the manifest says {expected[:12]}…; "
            "the file was changed or cut short, copy the model again"
        )


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder, without a look at the files. Raises `ArtifactError`."""
    path = folder / MANIFEST
    try:
        values = json.loads(read_regular(path, _MAX_MANIFEST_BYTES).decode())
    except FileNotFoundError as error:
        raise ArtifactError(_without_manifest(folder)) from error
    except OSError as error:
        raise ArtifactError(f"{path}: cannot be read ({reason(error)})") from error
    except (ValueError, RecursionError) as error:
        raise ArtifactError(f"{path}: not readable as JSON ({error})") from error
    format_ = values.get("format") if isinstance(values, dict) else None
    if format_ not in READABLE:
        remedy = "update resift" if is_newer(format_, FORMAT) else "convert it again"
        raise ArtifactError(
            f"{path}: format {shown(format_)}, this resift reads "
            f"{' and '.join(map(str, READABLE))}; {remedy}"
        )
    try:
        return _manifest(values)
    except (TypeError, KeyError, ValueError) as error:
        raise ArtifactError(f"{path}: not a manifest of format {format_} ({error})") from error


def _without_manifest(folder: Path) -> str:
    if (folder / CONFIG).is_file():
        return (
            f"{folder}: a transformers checkpoint, and no resift model yet; run  resift convert "
            "FOLDER OUT"
        )
    return (
        f"{folder}: no {MANIFEST} in it, so it is not a resift model, and no {CONFIG}, so it is no "
        "transformers checkpoint; name another folder, or make a model with  resift convert"
    )


def _manifest(values: dict[str, Any]) -> Manifest:
    if values["kind"] not in get_args(Kind):
        raise ValueError(f"kind {values['kind']!r}, expected one of {', '.join(get_args(Kind))}")
    if values.get("pooling", "mean") not in get_args(Pooling):
        raise ValueError(f"pooling {values['pooling']!r}, expected mean or cls")
    late = values.get("late_interaction")
    if values["kind"] == "late_interaction" and late is None:
        raise ValueError("a late-interaction model needs late_interaction weights")
    values |= _reading(values)
    _check_numbers(values)
    _check_texts(values)
    values["late_interaction"] = None if late is None else _late_interaction(**late)
    values["reference"] = tuple(_reference(**pair) for pair in values["reference"])
    values["stages"] = tuple(values["stages"])
    values["exits"] = tuple(_exit(**exit_) for exit_ in values.get("exits", ()))
    calibration = values.get("calibration")
    values["calibration"] = None if calibration is None else _calibration(**calibration)
    report = values.get("report")
    values["report"] = None if report is None else _agreement(**report)
    if not values["stages"]:
        raise ValueError("stages are empty, expected at least one ONNX file")
    files = values["files"]
    if not isinstance(files, dict) or not all(isinstance(hashed, str) for hashed in files.values()):
        raise ValueError(f"files {files!r}, expected names to SHA-256")
    late = values["late_interaction"]
    terms = TERM_FILES if late and late.terms else ()
    unhashed = {TOKENIZER, *values["stages"], *terms} - set(files)
    if unhashed:
        raise ValueError(f"no hash for {', '.join(sorted(unhashed))}")
    for name in files:
        if Path(name).name != name:
            raise ValueError(f"file name {name!r} leaves the folder")
    return Manifest(**values | {"format": FORMAT})  # as it would be written now


def _reading(values: dict[str, Any]) -> dict[str, CausalPrompt | TokenVectors]:
    """How a causal reranker or a multi-vector model reads texts, by the kind's name."""
    for kind in ("causal", "multi_vector"):
        if (values["kind"] == kind) != (values.get(kind) is not None):
            raise ValueError(f"kind {kind!r}, and no other kind, has settings in {kind}")
    if values["kind"] == "causal":
        return {"causal": CausalPrompt.of(**values["causal"])}
    if values["kind"] == "multi_vector":
        return {"multi_vector": TokenVectors.of(**values["multi_vector"])}
    return {}


def _check_numbers(values: dict[str, Any]) -> None:
    """Raise `ValueError` for an invalid number."""
    for name in ("tolerance", "fusion_weight", "feedback_weight"):
        if not (_is_finite(values.get(name, 0.0)) and values.get(name, 0.0) >= 0):
            raise ValueError(f"{name} {values[name]!r}, expected a number from 0")
    limit = values["max_tokens"]
    step = 1 if values["kind"] == "multi_vector" else LENGTH_STEP
    if type(limit) is not int or not LENGTH_STEP <= limit <= MAX_TOKENS or limit % step:
        raise ValueError(f"max_tokens {limit!r}, expected a multiple of {step} from {LENGTH_STEP}")


def _check_texts(values: dict[str, Any]) -> None:
    """Raise `ValueError` for a text that is none."""
    names = (
        "name", "base_model", "licence", "quantisation", "query_prompt", "passage_prompt",
        "activation",
    )  # fmt: skip
    for name in names:
        if not isinstance(values.get(name, ""), str):
            raise ValueError(f"{name} {shown(values[name])}, expected text")
    revision, label = values.get("revision"), values.get("label")
    if not isinstance(revision, str | None):
        raise ValueError(f"revision {shown(revision)}, expected text or null")
    if not isinstance(label, str | int | None) or isinstance(label, bool):
        raise ValueError(f"label {shown(label)}, expected a name, an index or null")
    if not isinstance(values.get("report"), dict | None):
        raise ValueError(f"report {shown(values['report'])}, expected an object or null")


def _is_finite(value: object) -> bool:
    """Whether a value is a number that a float can hold."""
    return isinstance(value, int | float) and type(value) is not bool and abs(value) < 1e300


def _late_interaction(**weights: float) -> LateInteractionWeights:
    for name, weight in weights.items():
        if not (_is_finite(weight) and abs(weight) < _MAX_WEIGHT):
            raise ValueError(f"late_interaction: {name} {shown(weight)}, expected a number")
    if weights.get(TERM_FEATURE, 1.0) <= 0:
        raise ValueError(
            f"late_interaction: {TERM_FEATURE} {weights[TERM_FEATURE]!r}, expected a weight above "
            "0, or none for a model without term matching"
        )
    return LateInteractionWeights(**weights)


def _reference(query: str, text: str, logit: float, logit_fp32: float) -> ReferencePair:
    if not (_is_finite(logit) and _is_finite(logit_fp32)):
        raise ValueError("reference logits must be numbers")
    return ReferencePair(query, text, logit, logit_fp32)


def _calibration(plain: dict[str, Any], fused: dict[str, Any], pairs: int) -> ModelCalibration:
    return ModelCalibration(Platt(**plain), Platt(**fused), pairs)


def _agreement(float_layers: list[str] | tuple[str, ...] = (), **numbers: Any) -> Agreement:
    agreement = Agreement(**numbers, float_layers=tuple(float_layers))
    shares = (agreement.spearman, agreement.within_query, agreement.top10_overlap)
    counts = (agreement.max_difference, agreement.pairs)
    if not all(share is None or _is_finite(share) for share in shares) or not all(
        _is_finite(count) for count in counts
    ):
        raise ValueError("a report's figures must be numbers")
    names = [*agreement.float_layers, agreement.quantiser]
    if (
        type(agreement.is_int8) is not bool
        or isinstance(float_layers, str)
        or not all(isinstance(name, str) for name in names)
    ):
        raise ValueError("a report needs is_int8, true or false, and names of float_layers")
    return agreement


def _exit(levels: list[float], gains: list[float], pairs: int) -> Exit:
    if not all(_is_finite(number) for number in [*levels, *gains]):
        raise ValueError("an exit's levels and gains must be numbers")
    if len(levels) != len(gains) or levels != sorted(levels) or gains != sorted(gains):
        raise ValueError("an exit needs rising levels with a rising gain for each")
    return Exit(tuple(levels), tuple(gains), pairs)
