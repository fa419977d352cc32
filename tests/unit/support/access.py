"""Keys for tests, and access control by them."""

from datetime import UTC, datetime
from typing import Any

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.access.caller import Right
from hedgerow.gateway.access.control import AccessControl
from hedgerow.gateway.access.key import Key, hash_of, new_secret
from hedgerow.gateway.access.key_ring import KeyRing

CREATED = datetime(2026, 1, 1, tzinfo=UTC)


def make_key(name: str, *rights: Right, **members: Any) -> tuple[Key, str]:
    """Make a key, by default with every right; the key and its text."""
    secret = new_secret(name)
    hashed = hash_of(secret.encode()).hex()
    return Key(name, hashed, rights or tuple(Right), CREATED, **members), secret


def access_by(*keys: Key, **settings: Any) -> AccessControl:
    """Access control with these keys in force."""
    ring = KeyRing()
    ring.replace(keys)
    return AccessControl(GatewaySettings(**settings), ring)
