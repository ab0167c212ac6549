"""The services by their names."""

from collections.abc import Mapping

from resift.errors import InputError, shown
from resift.rerank.families.services.cohere import COHERE
from resift.rerank.families.services.jina import JINA
from resift.rerank.families.services.resift_server import RESIFT
from resift.rerank.families.services.service import Service
from resift.rerank.families.services.tei import TEI
from resift.rerank.families.services.vllm import VLLM
from resift.rerank.families.services.voyage import VOYAGE

SERVICES: Mapping[str, Service] = {
    service.name: service for service in (COHERE, JINA, VOYAGE, TEI, VLLM, RESIFT)
}


def service_named(name: object) -> Service:
    """The service of a name. Raises `InputError`."""
    service = SERVICES.get(name) if isinstance(name, str) else None
    if service is None:
        raise InputError(f"service={shown(name)}: expected one of {', '.join(SERVICES)}")
    return service
