"""Servers and sentinels that speak TLS alone, with Debian's redis-server, which can."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from bench.harness.sentinels import Sentinels, running_sentinels
from hedgerow.common.errors import ConfigurationError, RedisUnavailableError
from hedgerow.common.redis.commands import CommandError
from hedgerow.common.redis.connect import connect
from hedgerow.common.redis.connection import RedisConnection
from tests.support.tls_servers import tls_in
from tests.support.waiting import until

pytestmark = pytest.mark.integration


@pytest.fixture
def sentinels(tmp_path: Path) -> Iterator[Sentinels]:
    """A primary, two replicas and three sentinels."""
    with running_sentinels(tls=tls_in(tmp_path)) as running:
        yield running


async def test_a_failover_is_followed_over_tls(sentinels: Sentinels, key_prefix: str) -> None:
    """Control and data plane find the primary, and follow the next one, by verified TLS alone."""
    control = await connect(sentinels.settings(), 5)
    link = RedisConnection(control.primary, name="test", silence_s=5)
    try:
        await link.start(5)
        await link.call("SET", f"{key_prefix}:a", "1")
        assert await control.execute("GET", f"{key_prefix}:a") == b"1"
        before = sentinels.primary()
        before.kill()

        async def is_writable() -> bool:
            try:
                await link.call("SET", f"{key_prefix}:b", "2")
                return bool(await control.execute("GET", f"{key_prefix}:b") == b"2")
            except (CommandError, RedisUnavailableError):
                return False

        await until(is_writable, 60.0, what="the next primary takes writes")
        assert sentinels.primary() is not before
    finally:
        await link.close()
        await control.close()


async def test_an_unknown_authority_is_refused(sentinels: Sentinels, tmp_path: Path) -> None:
    """A client that trusts another authority connects to none of them."""
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with pytest.raises((ConfigurationError, RedisUnavailableError), match="certificate"):
        await connect(sentinels.settings(tls_ca_file=str(other)), 5)
