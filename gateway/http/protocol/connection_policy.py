"""How long a connection may stay in a phase, and which one is closed to make room.

Pure: all times are of one clock, in s, and `now` is an argument.
"""

import enum
import ipaddress
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from hedgerow.common.settings.connections import ConnectionSettings

# A client sends its first request, body and all, as soon as it is connected. A connection that has
# not done so is closed before one on which requests were answered, unless it is much younger.
_NEVER_ASKED: Final = 100.0

# Descriptors beside those of connections: some 15 for Redis, logs, the listener; some 30 for
# connections that were accepted and are not counted yet, or are closed and not gone yet; and spare.
RESERVED_DESCRIPTORS: Final = 128


class Phase(enum.Enum):
    """What a connection is about to do."""

    HEAD = "reads a request's head, or waits for one"
    BODY = "reads a request's body"
    ANSWER = "is being answered"
    LINGER = "is refused, and discards the rest of what is sent"


@dataclass(slots=True)
class ConnectionState:
    """What the policy knows of a connection.

    Attributes:
        peer: the client, as `peer_of` returns it.
        since: when the phase began; in a bulk load's body, when the last bytes arrived.
        phase: what it is about to do.
        has_begun: whether part of a head has arrived.
        has_asked: whether a whole request has ever arrived.
        is_load: whether the body is that of a bulk load.
        is_read: whether the gateway reads what the client sends, or keeps it waiting.
        is_unsent_since: when the answer began to wait for the client; None if nothing waits.
        unsent_bytes: how much of the answer waited at the last check.
        took_at: when the client was last seen to have read part of what waits.
    """

    peer: str
    since: float
    phase: Phase = Phase.HEAD
    has_begun: bool = False
    has_asked: bool = False
    is_load: bool = False
    is_read: bool = True
    is_unsent_since: float | None = None
    unsent_bytes: int = 0
    took_at: float = 0.0

    @property
    def is_waiting_for_client(self) -> bool:
        """Whether the client has yet to take its answer, before anything else counts."""
        return self.is_unsent_since is not None and self.phase is not Phase.BODY

    def read(self, is_read: bool, now: float) -> None:
        """The gateway reads on, or keeps the client waiting, which does not count as its time."""
        self.is_read = is_read
        if self.phase is Phase.BODY and self.is_load:
            self.since = now

    def look_at_unsent(self, num_bytes: int, now: float) -> None:
        """Take into account how many bytes of answers wait for the client."""
        if num_bytes == 0:
            self.is_unsent_since = None
        elif self.is_unsent_since is None:
            self.is_unsent_since = self.took_at = now
        elif num_bytes < self.unsent_bytes:
            self.took_at = now
        self.unsent_bytes = num_bytes


def expires_at(state: ConnectionState, limits: ConnectionSettings) -> float:
    """When a connection's time is up, if nothing happens until then; infinity for never."""
    if state.is_waiting_for_client:
        return state.took_at + limits.send_timeout_s
    match state.phase:
        case Phase.HEAD:
            is_idle = state.has_asked and not state.has_begun
            timeout_s = limits.keep_alive_timeout_s if is_idle else limits.head_timeout_s
        case Phase.BODY:
            timeout_s = limits.body_timeout_s if state.is_read else math.inf
        case Phase.LINGER:
            timeout_s = limits.linger_timeout_s
        case Phase.ANSWER:
            timeout_s = math.inf
    return state.since + timeout_s


def idleness(state: ConnectionState, now: float) -> float | None:
    """How well a connection can be spared: for how long it has done nothing, weighted, in s.

    None while the client waits for the gateway, with a request that is read or answered.
    """
    match state.phase:
        case Phase.LINGER:
            return math.inf
        case Phase.ANSWER:
            return None if state.is_unsent_since is None else now - state.took_at
        case Phase.BODY if not state.is_read:
            return None
        case _ if not (state.has_asked or (state.phase is Phase.BODY and state.is_load)):
            return (now - state.since) * _NEVER_ASKED
        case _:
            return now - state.since


def most_idle(
    states: Iterable[ConnectionState], now: float, peer: str | None = None
) -> list[ConnectionState]:
    """The connections that can be spared, the most idle first.

    Args:
        states: all connections.
        now: the time.
        peer: whose connections alone count; None for those of all.
    """
    found = [
        (idle, state)
        for state in states
        if (peer is None or state.peer == peer) and (idle := idleness(state, now)) is not None
    ]
    found.sort(key=lambda pair: pair[0], reverse=True)
    return [state for _, state in found]


def over_unsent(states: Iterable[ConnectionState], max_bytes: int) -> list[ConnectionState]:
    """The connections to close so that no more than `max_bytes` wait for clients.

    Those that have kept an answer waiting for longest go first.
    """
    waiting = sorted(
        (state for state in states if state.is_unsent_since is not None),
        key=lambda state: state.is_unsent_since or 0.0,
    )
    excess = sum(state.unsent_bytes for state in waiting) - max_bytes
    closed = []
    for state in waiting:
        if excess <= 0:
            break
        closed.append(state)
        excess -= state.unsent_bytes
    return closed


def peer_of(address: str) -> str:
    """Whose connections count together: an IPv4 address, or the /64 of an IPv6 address.

    A host has a /64 of IPv6 to itself, and may come from any address within it.
    """
    if ":" not in address:
        return address
    try:
        packed = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    if packed.ipv4_mapped is not None:
        return str(packed.ipv4_mapped)
    return str(ipaddress.IPv6Network((packed, 64), strict=False))


def connections_within(max_connections: int, max_descriptors: float) -> int:
    """How many connections there may be where a process may have `max_descriptors`."""
    return int(max(1, min(max_connections, max_descriptors - RESERVED_DESCRIPTORS)))
