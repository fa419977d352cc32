"""What redis-py's errors become, for those of a Redis Cluster."""

import pytest
from redis.exceptions import ResponseError

from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.sentinel_view import Address
from hedgerow.common.redis.translation import asked_at, is_moved, translate


@pytest.mark.parametrize(
    "text",
    [
        "MOVED 3999 127.0.0.1:6381",
        "ASK 3999 127.0.0.1:6381",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "CLUSTERDOWN Hash slot not served",
    ],
)
def test_what_another_attempt_may_mend_is_unavailable(text: str) -> None:
    """Errors that end with a migration or a failover are no mistake of the configuration."""
    assert isinstance(translate(ResponseError(text), "XADD"), RedisUnavailableError)


def test_keys_in_several_slots_are_a_mistake() -> None:
    """No later attempt would be any better."""
    error = translate(ResponseError("CROSSSLOT Keys in request don't hash to the same slot"), "X")
    assert isinstance(error, ConfigurationError)


def test_redirections_are_told_apart() -> None:
    """MOVED is for ever, ASK for one command, and both only as an error of the server's."""
    moved, ask = ResponseError("MOVED 1 ::1:7"), ResponseError("ASK 1 ::1:7")
    assert (is_moved(moved), is_moved(ask), is_moved("MOVED 1 a:7")) == (True, False, False)
    assert asked_at(ask) == Address("::1", 7)
    assert (asked_at(moved), asked_at(b"ASK 1 a:7"), asked_at(ResponseError("ASK 1 :7"))) == (
        None,
        None,
        None,
    )
