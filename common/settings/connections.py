"""Limits on what each connection, and all of them together, may use of a gateway."""

from pydantic import Field, NonNegativeInt

from hedgerow.common.settings.group import Group, PositiveFloat, PositiveInt


class ConnectionSettings(Group):
    """Limits of connections; a part of the group `gateway`."""

    max_connections: PositiveInt = Field(
        1000,
        description="Most connections at once. Beyond that, a new connection replaces the one "
        "that has been idle for longest, and is refused (503) only when all are busy. At startup, "
        "the limit is lowered to what the process's file descriptors allow.",
    )
    max_connections_per_peer: PositiveInt = Field(
        500,
        description="Most connections at once from one IPv4 address or one IPv6 network of 64 "
        "bits; the same rule applies.",
    )
    max_head_bytes: PositiveInt = Field(
        32_768,
        description="Largest head of a request (request line and header fields), in bytes; in a "
        "chunked body, also the most bytes between two pieces of its content.",
    )
    max_headers: PositiveInt = Field(100, description="Most header fields of a request.")
    head_timeout_s: PositiveFloat = Field(
        10.0,
        description="Longest time from a connection's start, or from the first byte of a later "
        "request, to the end of the request's head, in s.",
    )
    body_timeout_s: PositiveFloat = Field(
        30.0,
        description="Longest time from the end of the head to the end of the body, in s; for a "
        "bulk load, the longest time without a byte while the gateway reads.",
    )
    keep_alive_timeout_s: PositiveFloat = Field(
        5.0,
        description="How long a connection may have no request before it is closed, in s.",
    )
    send_timeout_s: PositiveFloat = Field(
        30.0,
        description="How long a client may read nothing of its answer before it is disconnected, "
        "in s.",
    )
    max_unsent_bytes: PositiveInt = Field(
        67_108_864,
        description="Most bytes of answers that clients have not read yet, over all connections. "
        "Beyond that, the clients whose answers have waited for longest are disconnected.",
    )
    linger_timeout_s: PositiveFloat = Field(
        10.0,
        description="After a refusal, how long the gateway goes on to read and discard the rest "
        "of the request, so that the client can read the refusal before the connection is closed, "
        "in s.",
    )
    max_linger_bytes: PositiveInt = Field(
        33_554_432,
        description="Most bytes that are discarded after a refusal.",
    )
    max_held_refusals: NonNegativeInt = Field(
        500,
        description="Most refusals of searches (429) that wait at once. If a connection asks again "
        "before the time in Retry-After has passed, and is refused again, that refusal waits until "
        "then, or for the query's deadline if that is shorter. One address may have a quarter of "
        "them; beyond the limit, refusals leave at once. With 0, none waits.",
    )
    max_handshake_share: float = Field(
        0.25,
        gt=0,
        le=1,
        description="Largest share of the gateway's time for TLS handshakes. Beyond it, handshakes "
        "wait, the addresses in turn; each must still be completed within head_timeout_s.",
    )
