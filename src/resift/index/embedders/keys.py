"""Which key goes to which embedding server.

A key is sent only to the host that it belongs to, and leaves this machine only encrypted.
"""

from urllib.parse import SplitResult

from resift.settings import Settings
from resift.transport.authorisation import (
    Authorisation,
    basic,
    bearer,
    check_encrypted,
    is_same_server,
)

OPENAI = "https://api.openai.com"
VARIABLE = "RESIFT_EMBEDDER_KEY"


def authorise(url: SplitResult, user: str | None, settings: Settings) -> Authorisation:
    """Choose the secret for `url`: its own ``user:password``, else the key of that server.

    The embedder's key is for the server of the embedder in the settings, or for any server if the
    settings name none. OpenAI's key is for OpenAI only. Raise `InputError` if a secret would leave
    this machine unencrypted, or a key contains characters that a header cannot.
    """
    if user:
        authorisation = basic(user)
    else:
        is_named = not settings.embedder or is_same_server(url, settings.embedder)
        name, key = "embedder_key", settings.embedder_key if is_named else None
        if not key and is_same_server(url, OPENAI):
            name, key = "openai_key", settings.openai_key
        if not key:
            return Authorisation()
        authorisation = bearer(key.strip(), name)
    check_encrypted(url, VARIABLE)
    return authorisation
