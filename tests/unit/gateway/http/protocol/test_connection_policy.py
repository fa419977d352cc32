"""Which connections must go: how long each may wait, and which make room for others."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hedgerow.common.settings.connections import ConnectionSettings
from hedgerow.gateway.http.protocol.connection_policy import (
    RESERVED_DESCRIPTORS,
    ConnectionState,
    Phase,
    connections_within,
    expires_at,
    idleness,
    most_idle,
    over_unsent,
    peer_of,
)

LIMITS = ConnectionSettings(
    head_timeout_s=10,
    body_timeout_s=30,
    keep_alive_timeout_s=5,
    send_timeout_s=20,
    linger_timeout_s=3,
)
NOW = 1000.0

states = st.builds(
    ConnectionState,
    peer=st.sampled_from(["192.0.2.1", "192.0.2.2"]),
    since=st.floats(0, NOW),
    phase=st.sampled_from(Phase),
    has_begun=st.booleans(),
    has_asked=st.booleans(),
    is_load=st.booleans(),
    is_read=st.booleans(),
    is_unsent_since=st.none() | st.floats(0, NOW),
    unsent_bytes=st.integers(0, 1000),
    took_at=st.floats(0, NOW),
)


@pytest.mark.parametrize(
    ("phase", "has_begun", "has_asked", "timeout_s"),
    [
        (Phase.HEAD, False, False, 10),
        (Phase.HEAD, True, False, 10),
        (Phase.HEAD, True, True, 10),
        (Phase.HEAD, False, True, 5),
        (Phase.BODY, True, True, 30),
        (Phase.LINGER, True, True, 3),
        (Phase.ANSWER, True, True, math.inf),
    ],
)
def test_each_phase_has_its_time(
    phase: Phase, has_begun: bool, has_asked: bool, timeout_s: float
) -> None:
    """A head, a body, an idle connection and a refused one have the time of their settings."""
    state = ConnectionState(
        peer="", since=NOW, phase=phase, has_begun=has_begun, has_asked=has_asked
    )
    assert expires_at(state, LIMITS) == NOW + timeout_s


def test_the_time_of_a_load_stands_still_while_it_is_not_read() -> None:
    """A load that the gateway keeps waiting has its full time again when reading resumes."""
    state = ConnectionState(peer="", since=NOW, phase=Phase.BODY, has_asked=True, is_load=True)
    state.read(False, NOW + 1)
    assert expires_at(state, LIMITS) == math.inf
    state.read(True, NOW + 100)
    assert expires_at(state, LIMITS) == NOW + 130


def test_the_time_of_another_body_counts_in_all() -> None:
    """Requests other than loads do not get more time by pauses."""
    state = ConnectionState(peer="", since=NOW, phase=Phase.BODY, has_asked=True)
    state.read(False, NOW + 1)
    state.read(True, NOW + 20)
    assert expires_at(state, LIMITS) == NOW + 30


@pytest.mark.parametrize("phase", [Phase.HEAD, Phase.ANSWER, Phase.LINGER])
def test_a_client_that_takes_its_answer_has_time(phase: Phase) -> None:
    """As long as a part of what waits is taken, the time begins again."""
    state = ConnectionState(peer="", since=NOW, phase=phase, has_asked=True)
    state.look_at_unsent(900, NOW)
    assert expires_at(state, LIMITS) == NOW + 20
    state.look_at_unsent(900, NOW + 10)
    assert expires_at(state, LIMITS) == NOW + 20
    state.look_at_unsent(899, NOW + 10)
    assert expires_at(state, LIMITS) == NOW + 30
    state.look_at_unsent(0, NOW + 11)
    assert expires_at(state, LIMITS) != NOW + 30


@given(states)
def test_a_client_that_waits_is_not_spared(state: ConnectionState) -> None:
    """While the gateway answers, or does not read the body, it has no cause to close."""
    is_busy = (
        state.is_unsent_since is None if state.phase is Phase.ANSWER else not state.is_read
    ) and state.phase in (Phase.ANSWER, Phase.BODY)
    assert (idleness(state, NOW) is None) == is_busy


@given(st.lists(states, max_size=8))
def test_the_most_idle_go_first(all_states: list[ConnectionState]) -> None:
    """All that can be spared are ranked, and each is at least as idle as those after it."""
    ranked = most_idle(all_states, NOW)
    idle = [idleness(state, NOW) for state in ranked]
    assert None not in idle
    assert idle == sorted(idle, reverse=True, key=lambda value: value or 0.0)
    assert len(ranked) == sum(idleness(state, NOW) is not None for state in all_states)


@given(st.lists(states, max_size=8))
def test_a_peer_makes_room_for_itself(all_states: list[ConnectionState]) -> None:
    """Where one peer has too many connections, none of another peer is closed."""
    ranked = most_idle(all_states, NOW, "192.0.2.1")
    assert {state.peer for state in ranked} <= {"192.0.2.1"}


def test_a_client_between_two_requests_outlasts_those_that_never_ask() -> None:
    """A connection that was silent for 4 s stays while one that never asked for 0.1 s goes."""
    normal = ConnectionState(peer="", since=NOW - 4, has_asked=True)
    silent = ConnectionState(peer="", since=NOW - 0.1)
    assert most_idle([normal, silent], NOW) == [silent, normal]


def test_a_new_client_outlasts_those_that_asked_once() -> None:
    """A connection made 1 ms ago stays while those that have been idle for a second go."""
    idle = ConnectionState(peer="", since=NOW - 1, has_asked=True)
    new = ConnectionState(peer="", since=NOW - 0.001)
    assert most_idle([new, idle], NOW) == [idle, new]


def test_a_client_outlasts_those_that_leave_their_first_body_unfinished() -> None:
    """A new client and one between requests stay, and so does a load; a half-sent body goes."""
    half = ConnectionState(peer="", since=NOW - 0.1, phase=Phase.BODY)
    new = ConnectionState(peer="", since=NOW - 0.05)
    normal = ConnectionState(peer="", since=NOW - 4, has_asked=True)
    load = ConnectionState(peer="", since=NOW - 1, phase=Phase.BODY, is_load=True)
    assert most_idle([load, normal, new, half], NOW) == [half, new, normal, load]


def test_a_refused_client_goes_first() -> None:
    """A connection that has had its refusal makes room before all others."""
    refused = ConnectionState(peer="", since=NOW, phase=Phase.LINGER)
    silent = ConnectionState(peer="", since=0)
    assert most_idle([silent, refused], NOW) == [refused, silent]


@given(st.lists(states, max_size=8), st.integers(0, 4000))
def test_what_waits_for_clients_is_bounded(
    all_states: list[ConnectionState], max_bytes: int
) -> None:
    """No more than the limit is left, and no connection is closed without need."""
    closed = over_unsent(all_states, max_bytes)
    kept = [
        state
        for state in all_states
        if state.is_unsent_since is not None and not any(state is other for other in closed)
    ]
    left = sum(state.unsent_bytes for state in kept)
    assert left <= max_bytes
    if closed:
        assert left + closed[-1].unsent_bytes > max_bytes
        assert all(
            (other.is_unsent_since or 0.0) >= (closed[-1].is_unsent_since or 0.0) for other in kept
        )


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("a:b", "a:b"),
        ("", ""),
    ],
)
def test_a_network_of_ipv6_is_one_peer(address: str, peer: str) -> None:
    """An IPv4 address counts by itself, in either form; IPv6 addresses count by their /64."""
    assert peer_of(address) == peer


@pytest.mark.parametrize(
    ("max_descriptors", "expected"),
    [
        (math.inf, 1000),
        (20_000, 1000),
        (1024, 1024 - RESERVED_DESCRIPTORS),
        (64, 1),
    ],
)
def test_connections_leave_descriptors_for_the_rest(max_descriptors: float, expected: int) -> None:
    """However few descriptors there are, some are kept for Redis and logs."""
    assert connections_within(1000, max_descriptors) == expected
