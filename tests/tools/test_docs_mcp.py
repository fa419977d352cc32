"""docs/mcp.md against the code."""

import inspect
import json
import re
from pathlib import Path

from hedgerow.gateway.cli.mcp import mcp
from hedgerow.gateway.mcp.limits import Limits
from tests.support.pages import blocks_of

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text(encoding="utf-8")


def test_each_limit_has_its_default() -> None:
    """The table's figures are those of the command, which are those of the limits."""
    rows = dict(re.findall(r"^\| `--([a-z-]+)` \| ([^|]+) \|", PAGE, re.MULTILINE))
    given = {
        name: parameter.default for name, parameter in inspect.signature(mcp).parameters.items()
    }
    limits = Limits()
    for name in ("max-hits", "max-bytes", "max-characters"):
        field = name.replace("-", "_")
        assert int(rows[name].replace(",", "")) == given[field] == getattr(limits, field)
    for name, in_ms in (("deadline", "deadline_ms"), ("max-deadline", "max_deadline_ms")):
        assert rows[name] == given[name.replace("-", "_")]
        assert float(rows[name].removesuffix("s")) * 1000 == getattr(limits, in_ms)


def test_a_configuration_names_a_command_that_there_is() -> None:
    """Its options are those of `gateway mcp`."""
    (configuration,) = [
        json.loads(block.text) for block in blocks_of("mcp.md") if block.language == "json"
    ]
    server = configuration["mcpServers"]["hedgerow"]
    command, *options = server["args"]
    assert (server["command"], command) == ("gateway", "mcp")
    known = {f"--{name.replace('_', '-')}" for name in inspect.signature(mcp).parameters}
    assert {one for one in options if one.startswith("--")} <= known
