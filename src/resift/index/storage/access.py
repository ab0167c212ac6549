"""Access to a bucket of any store: the options of obstore and of Lance, and signed listings."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.request import Request

from resift.extras import require
from resift.transport.certificates import read_authorities

SignListing = Callable[[Mapping[str, str]], Request]
"""Makes a request for a page of a listing from its query. The request is a secret."""


@dataclass(frozen=True, slots=True)
class Access:
    """object_store's options for a bucket, and credentials that are renewed.

    `store_class` is obstore's class, `bucket` its argument for the bucket. `provider` returns the
    current credentials for obstore, `lance_keys` the same as options of Lance.
    """

    store_class: str
    bucket: Mapping[str, str]
    options: Mapping[str, str]
    provider: Callable[[], dict[str, Any]] | None = None
    lance_keys: Callable[[], Mapping[str, str]] = dict
    ca_file: str | None = None

    def store(
        self, config: Mapping[str, str] = {}, client: Mapping[str, str] = {}, **options: Any
    ) -> Any:
        """Make an obstore store; `config` overrides the options of this record."""
        merged = {**self.options, **config}
        client_options: dict[str, Any] = {**client}
        client_options["allow_http"] = merged.pop("allow_http", "false") == "true"
        if self.ca_file:
            client_options["root_certificate"] = read_authorities(self.ca_file)
        if self.provider:
            options["credential_provider"] = self.provider
        make = getattr(require("obstore.store", "index"), self.store_class)
        return make(config=merged, client_options=client_options, **self.bucket, **options)
