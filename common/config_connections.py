"""Settings that bound what one connection, and all of them, may take of a gateway."""

from pydantic import Field

from common.config_group import Group, PositiveFloat, PositiveInt


class ConnectionSettings(Group):
    """Limits of connections; a part of the group `gateway`."""

    max_connections: PositiveInt = Field(
        1000,
        description="Most connections at once. A new one then takes the place of the one that has "
        "been idle for longest, and is refused (503) only when all are busy. At start the limit is "
        "lowered to what the process's file descriptors allow.",
    )
    max_connections_per_peer: PositiveInt = Field(
        500,
        description="Most connections at once from one IPv4 address or one IPv6 network of 64 "
        "bits, by the same rule.",
    )
    max_head_bytes: PositiveInt = Field(
        32_768,
        description="Largest head of a request (request line and header fields), in bytes; also "
        "the largest part of a chunked body between two pieces of its content.",
    )
    max_headers: PositiveInt = Field(100, description="Most header fields of a request.")
    head_timeout_s: PositiveFloat = Field(
        10.0,
        description="Longest time from a connection's start, or from the first byte of a later "
        "request, to the end of the request's head, in s.",
    )
    body_timeout_s: PositiveFloat = Field(
        30.0,
        description="Longest time from the head to the end of the body, in s; for a bulk load, "
        "longest time without a byte while the gateway reads.",
    )
    keep_alive_timeout_s: PositiveFloat = Field(
        5.0, description="A connection without a request for this long is closed, in s."
    )
    send_timeout_s: PositiveFloat = Field(
        30.0,
        description="A client that takes nothing of its answer for this long is disconnected, "
        "in s.",
    )
    max_unsent_bytes: PositiveInt = Field(
        67_108_864,
        description="Most bytes of answers that clients have not taken yet, over all connections. "
        "Beyond it, the clients that have kept an answer waiting for longest are disconnected.",
    )
    linger_timeout_s: PositiveFloat = Field(
        10.0,
        description="A refusal closes the connection only after the rest of the request was "
        "discarded, so that the client can read it; at most for this long, in s.",
    )
    max_linger_bytes: PositiveInt = Field(
        33_554_432, description="Most bytes that are discarded so, in bytes."
    )
