"""Several gateway processes: what is refused before any starts, and how they are called."""

import sys

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.gateway.cli import serve
from hedgerow.gateway.local.gateway_group import check_can_share
from hedgerow.gateway.local.programs import gateway_programs


def test_elsewhere_than_on_linux_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another system is refused with the reason and what to do; a single process is not."""
    monkeypatch.setattr(sys, "platform", "darwin")
    check_can_share(GatewaySettings())
    with pytest.raises(ConfigurationError, match=r"^gateway.processes: 2 .* on Linux only; start"):
        check_can_share(GatewaySettings(processes=2))


def test_there_are_as_many_ports_as_processes() -> None:
    """The last port is a port; a range that ends beyond it is refused."""
    check_can_share(GatewaySettings(processes=2, process_port=65_534))
    with pytest.raises(ConfigurationError, match=r"gateway.process_port: from 65535 on"):
        check_can_share(GatewaySettings(processes=2, process_port=65_535))


def test_a_process_that_is_not_one_of_them_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers begin at 0."""
    for name in ("HEDGEROW_CONFIG", "HEDGEROW_GATEWAY__PROCESSES"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigurationError, match=r"--process: 2 is not one of 2, counted from 0"):
        serve.serve(processes=2, process=2)


def test_each_process_is_told_which_it_is() -> None:
    """A single one keeps the plain name; each has time for the delay and both parts of a drain."""
    settings = GatewaySettings(processes=2, drain_timeout_s=4.0, drain_delay_s=3.0)
    programs = gateway_programs(settings, "::1", 8080, None, {"A": "b"}, num_shards=4)
    assert [program.name for program in programs] == ["gateway-0", "gateway-1"]
    calls = [program.call.options for program in programs if program.call is not None]
    assert [(call["process"], call["processes"]) for call in calls] == [(0, 2), (1, 2)]
    assert calls[0]["num_shards"] == 4
    assert "redis" not in calls[0]
    assert {program.drain_s for program in programs} == {3.0 + 2 * 4.0 + 5.0}
    (single,) = gateway_programs(GatewaySettings(), "::1", 8080, "redis://r", {})
    assert single.name == "gateway"
