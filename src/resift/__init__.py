"""resift: the second pass of a search. Scores query and document together, on your CPU."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resift.errors import (
        ArtifactError,
        BelowFloor,
        CalibrationError,
        ClusterError,
        DatasetError,
        EmbedderError,
        HubError,
        IndexBusy,
        IndexMismatch,
        IndexNotFound,
        InputError,
        MassDeletion,
        MissingExtra,
        ModelError,
        ModelNotFound,
        NoCopy,
        OutputError,
        Overloaded,
        ParityError,
        QueryError,
        RerankerClosed,
        RerankerError,
        ResiftError,
        RuntimeFailure,
        SettingsError,
        SourceError,
        SourceLost,
        StoreError,
        Unreadable,
        UnsafeStore,
        Vanished,
        VersionGone,
    )
    from resift.index.analysis.spec import AnalyserSpec
    from resift.index.claims import CitationStatus, Cited, Verdict
    from resift.index.embed import Embedder, Precomputer
    from resift.index.follow import SyncFailure
    from resift.index.parsing.options import Columns, ParseLimits
    from resift.index.part_work import Workers
    from resift.index.plan import SyncPlan
    from resift.index.report import SyncReport
    from resift.index.run import Progress, ProgressCallback
    from resift.index.source_options import SourceOptions
    from resift.index.sources.patterns import Globs
    from resift.index.versions.record import VectorIndex, Version
    from resift.rerank.base import BaseReranker
    from resift.rerank.families.chain import Chain
    from resift.rerank.families.listwise import ListwiseReranker
    from resift.rerank.families.names import open_ranker
    from resift.rerank.families.remote import RemoteReranker
    from resift.rerank.ranker import Ranker
    from resift.rerank.reranker import Reranker
    from resift.rerank.result import ScoredCandidates
    from resift.rerank.verify import ModelCheck, Verification
    from resift.search.any_retriever import TwoStage
    from resift.search.call import Retrieved
    from resift.search.index import Index
    from resift.search.options import Collapse, Mode
    from resift.search.retriever import Retriever
    from resift.settings import AzSettings, GsSettings, Settings, StorageSettings
    from resift.types import (
        Basis,
        Calibrated,
        Candidate,
        Citation,
        Comparison,
        Context,
        ContextOrder,
        ContextSource,
        Document,
        DocumentLike,
        Explainer,
        Explanation,
        Hit,
        LongDocuments,
        Part,
        PassageReader,
        Precomputed,
        Ranking,
        Receipt,
        Status,
    )

_MODULES = {
    "errors": "ArtifactError BelowFloor CalibrationError ClusterError DatasetError EmbedderError "
    "HubError IndexBusy "
    "IndexMismatch IndexNotFound InputError MassDeletion MissingExtra ModelError "
    "ModelNotFound NoCopy OutputError Overloaded ParityError QueryError RerankerClosed "
    "RerankerError ResiftError "
    "RuntimeFailure SettingsError SourceError SourceLost StoreError Unreadable UnsafeStore "
    "Vanished VersionGone",
    "index.analysis.spec": "AnalyserSpec",
    "index.claims": "CitationStatus Cited Verdict",
    "index.embed": "Embedder Precomputer",
    "index.part_work": "Workers",
    "index.parsing.options": "Columns ParseLimits",
    "index.sources.patterns": "Globs",
    "index.plan": "SyncPlan",
    "index.follow": "SyncFailure",
    "index.report": "SyncReport",
    "index.run": "Progress ProgressCallback",
    "index.source_options": "SourceOptions",
    "index.versions.record": "VectorIndex Version",
    "rerank.families.chain": "Chain",
    "rerank.families.listwise": "ListwiseReranker",
    "rerank.base": "BaseReranker",
    "rerank.families.names": "open_ranker",
    "rerank.families.remote": "RemoteReranker",
    "rerank.ranker": "Ranker",
    "rerank.reranker": "Reranker",
    "rerank.result": "ScoredCandidates",
    "rerank.verify": "ModelCheck Verification",
    "search.index": "Index",
    "search.options": "Collapse Mode",
    "search.any_retriever": "TwoStage",
    "search.call": "Retrieved",
    "search.retriever": "Retriever",
    "settings": "AzSettings GsSettings Settings StorageSettings",
    "types": "Basis Calibrated Candidate Citation Comparison Context ContextOrder ContextSource "
    "Document DocumentLike Explainer Explanation Hit LongDocuments Part PassageReader Precomputed "
    "Ranking Receipt Status",
}
"""Where each public name is defined; the module is imported when the name is first used."""

_HOMES = {name: f"resift.{module}" for module, names in _MODULES.items() for name in names.split()}

__all__ = [
    "AnalyserSpec", "ArtifactError", "AzSettings", "BaseReranker", "Basis", "BelowFloor",
    "Calibrated", "CalibrationError", "Candidate", "Chain", "Citation", "CitationStatus", "Cited",
    "ClusterError", "Collapse", "Columns", "Comparison", "Context", "ContextOrder",
    "ContextSource", "DatasetError", "Document", "DocumentLike", "Embedder", "EmbedderError",
    "Explainer", "Explanation", "Globs", "GsSettings", "Hit", "HubError", "Index", "IndexBusy",
    "IndexMismatch", "IndexNotFound", "InputError", "ListwiseReranker", "LongDocuments",
    "MassDeletion", "MissingExtra", "Mode", "ModelCheck", "ModelError", "ModelNotFound", "NoCopy",
    "OutputError", "Overloaded", "ParityError", "ParseLimits", "Part", "PassageReader",
    "Precomputed", "Precomputer", "Progress", "ProgressCallback", "QueryError", "Ranker",
    "Ranking", "Receipt", "RemoteReranker", "Reranker", "RerankerClosed", "RerankerError",
    "ResiftError", "Retrieved", "Retriever", "RuntimeFailure", "ScoredCandidates", "Settings",
    "SettingsError", "SourceError", "SourceLost", "SourceOptions", "Status", "StorageSettings",
    "StoreError", "SyncFailure", "SyncPlan", "SyncReport", "TwoStage", "Unreadable", "UnsafeStore",
    "Vanished", "VectorIndex", "Verdict", "Verification", "Version", "VersionGone", "Workers",
    "open_ranker",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name on first use: importing resift loads nothing else."""
    if name == "__version__":
        return import_module("importlib.metadata").version("resift")
    if name not in _HOMES:
        raise AttributeError(f"module 'resift' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
