"""Which settings reach the parts of a gateway."""

from typing import Any
from unittest.mock import Mock

import pytest

from hedgerow.common.redis.keys import Keys
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.settings import Settings
from hedgerow.gateway import wiring
from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.wiring import ClusterAccess, make_skipping


@pytest.mark.parametrize(("num_bytes", "is_made"), [(0, False), (1_234_567, True)])
async def test_no_summary_is_read_if_none_may_be_kept(
    monkeypatch: pytest.MonkeyPatch, num_bytes: int, is_made: bool
) -> None:
    """With `gateway.summary_bytes = 0`, every shard is asked."""
    made: list[Any] = []

    def reading(*arguments: Any) -> Mock:
        made.append(arguments)
        return Mock()

    monkeypatch.setattr(wiring, "SummaryReading", reading)
    settings = Settings(gateway=GatewaySettings(summary_bytes=num_bytes))
    access = ClusterAccess(settings, Mock(), Keys("p"), Mock(), 8, "g")
    skipping = make_skipping(access, Mock(spec=Membership))
    assert (skipping is not None) == is_made
    assert [arguments[-1] for arguments in made] == [num_bytes] * is_made
