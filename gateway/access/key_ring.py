"""The keys in force, and how each has been used. Pure."""

import hmac
import math
from collections.abc import Iterable, Mapping
from typing import Any, Final

from hedgerow.common.errors import OverloadedError, UnauthorizedError
from hedgerow.common.runtime.token_bucket import TokenBucket
from hedgerow.gateway.access.caller import Caller
from hedgerow.gateway.access.key import Key, hash_of, name_in

_NO_HASH: Final = bytes(32)  # compared with if there is no such key


class KeyInForce:
    """One key in force.

    Attributes:
        key: its entry in the file.
        caller: the caller that it stands for.
        num_requests: requests admitted since the start.
        num_over_rate: requests refused because of the rate.
    """

    __slots__ = (
        "_bucket",
        "_expires_at",
        "_num_processes",
        "caller",
        "hash",
        "key",
        "num_over_rate",
        "num_requests",
    )

    def __init__(self, key: Key, num_processes: int = 1) -> None:
        """Start without a request; each of `num_processes` admits its part of the key's rate."""
        self._num_processes = num_processes
        self.num_requests = 0
        self.num_over_rate = 0
        self._bucket: TokenBucket | None = None
        self.update(key)

    def update(self, key: Key) -> None:
        """Take the new entry of the file; counts and rate continue."""
        self.key = key
        self.caller: Caller = key.caller()
        self.hash = bytes.fromhex(key.sha256)
        self._expires_at = math.inf if key.expires is None else key.expires.timestamp()
        if key.rate_per_s is None:
            self._bucket = None
            return
        rate = key.rate_per_s / self._num_processes
        if self._bucket is None or self._bucket.rate != rate:
            self._bucket = TokenBucket(rate)

    def has_expired(self, wall: float) -> bool:
        """Whether its time is over."""
        return wall >= self._expires_at

    def admit(self, now: float) -> Caller:
        """Count a request.

        Raises:
            OverloadedError: there are too many a second.
        """
        wait_s = 0.0 if self._bucket is None else self._bucket.take(now)
        if wait_s:
            self.num_over_rate += 1
            raise OverloadedError(self._limit(), "rate", wait_s)
        self.num_requests += 1
        return self.caller

    def _limit(self) -> str:
        limit = f"key {self.key.name!r} may send {self.key.rate_per_s:g} requests a second"
        if self._num_processes == 1:
            return limit
        return f"{limit}, an equal part to each of the {self._num_processes} gateway processes"


class KeyRing:
    """Finds a key by its text.

    Attributes:
        is_required: whether requests need a key. Once there has been a file, they always do: a
            gateway whose last key was revoked is not open to all.
        error: why the file could not be read the last time; empty if it could.
    """

    def __init__(self, num_processes: int = 1) -> None:
        """Start without keys, and without requiring one.

        Args:
            num_processes: gateway processes that share a port, and the rate of each key.
        """
        self._num_processes = num_processes
        self.is_required = False
        self.error = ""
        self._in_force: dict[str, KeyInForce] = {}

    @property
    def names(self) -> frozenset[str]:
        """The names of the keys in force."""
        return frozenset(self._in_force)

    def replace(self, keys: Iterable[Key]) -> None:
        """Put only these keys in force."""
        before, self._in_force = self._in_force, {}
        for key in keys:
            known = before.get(key.name)
            if known is None or known.key.sha256 != key.sha256:
                known = KeyInForce(
                    key, self._num_processes
                )  # a new key with an old name starts counting at 0
            else:
                known.update(key)
            self._in_force[key.name] = known
        self.is_required = True

    def find(self, text: bytes, wall: float) -> KeyInForce:
        """Find the key that a request has sent.

        Raises:
            UnauthorizedError: there is no such key, or it has expired.
        """
        found = self._in_force.get(name_in(text))
        # In constant time, so that the time of a refusal reveals nothing about the key.
        is_right = hmac.compare_digest(hash_of(text), _NO_HASH if found is None else found.hash)
        if found is None or not is_right:
            raise UnauthorizedError(
                "this gateway requires `Authorization: Bearer KEY` (a valid key)"
            )
        if found.has_expired(wall):
            raise UnauthorizedError(f"key {found.key.name!r} has expired")
        return found

    def to_json(self, searches: Mapping[str, Mapping[str, int]], wall: float) -> list[Any]:
        """The part of the status about each key, as docs/http-status.md describes it.

        Args:
            searches: name → its searches `in_flight`, and `refused` for its share.
            wall: now, by the system's clock.
        """
        nothing = {"in_flight": 0, "refused": 0}
        return [
            {
                "name": name,
                "rights": [right.value for right in known.key.rights],
                "collections": None
                if known.key.collections is None
                else list(known.key.collections),
                "rate_per_s": known.key.rate_per_s,
                "share": known.key.share,
                "is_expired": known.has_expired(wall),
                "requests": known.num_requests,
                "refused": {
                    "rate": known.num_over_rate,
                    "share": searches.get(name, nothing)["refused"],
                },
                "in_flight": searches.get(name, nothing)["in_flight"],
            }
            for name, known in self._in_force.items()
        ]
