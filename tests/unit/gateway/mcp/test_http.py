"""Who may ask the MCP server over HTTP."""

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.mcp.http import Listening, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.9.9.9"])
def test_this_machine_alone_may_ask_without_a_token(host: str) -> None:
    """A loopback address needs none, and answers to its names with its port."""
    assert is_loopback(host)
    Listening(host, 8765).check()
    security = Listening(host, 8765).security(8765)
    assert security.enable_dns_rebinding_protection
    assert "localhost:8765" in security.allowed_hosts
    assert all(one.endswith(":8765") for one in security.allowed_hosts)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "search.example", "128.0.0.1"])
def test_other_machines_need_a_token(host: str) -> None:
    """Any other address, known to be reached from elsewhere or not."""
    with pytest.raises(ConfigurationError, match="HEDGEROW_MCP_TOKEN"):
        Listening(host, 8765).check()
    with pytest.raises(ConfigurationError, match="empty"):
        Listening(host, 8765, token="").check()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_an_address_without_a_name_needs_one(host: str) -> None:
    """Otherwise no value of Host could be right."""
    with pytest.raises(ConfigurationError, match="--allow-host"):
        Listening(host, 8765, token="t").check()
    named = Listening(host, 8765, token="t", allowed_hosts=("search.example:8765",))
    named.check()
    assert named.security(8765).allowed_hosts == ["search.example:8765"]


def test_an_address_of_its_own_is_its_name() -> None:
    """With brackets, if it is of IPv6."""
    assert Listening("10.0.0.7", 1, token="t").security(80).allowed_hosts == ["10.0.0.7:80"]
    assert Listening("fd00::1", 1, token="t").security(80).allowed_hosts == ["[fd00::1]:80"]
