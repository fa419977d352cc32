"""What /openapi.json allows and forbids, tried by schemathesis, which knows nothing else."""

import asyncio
import sys
from pathlib import Path
from urllib.parse import quote

from tests.hostile.attack import attack
from tests.hostile.cluster import COLLECTION
from tests.hostile.oracle import ALLOWED_FAILURES
from tests.hostile.target import Target

_CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
# Searches are of a collection that there is. All else is of another, since schemathesis takes the
# names that it sees in answers, and would remove what the normal client searches.
_OWN = "openapi-own"
_CONFIG = f"""
hooks = "tests.hostile.openapi_hooks"

[checks.not_a_server_error]
expected-statuses = [{{statuses}}]

[[operations]]
include-path-regex = "/(search|coverage-curve)$"
parameters = {{{{ "path.name" = "{COLLECTION}" }}}}

[[operations]]
include-path-regex = "/v1/collections/{{{{name}}}}(/optimise|/documents.*)?$"
parameters = {{{{ "path.name" = "{_OWN}" }}}}
"""
_SECONDS, _SECONDS_FULL = 15, 120
_MARGIN_S = 20
# A breaker that is forced open is an operator's word, and takes a shard from the normal client. The
# stream of events does not end.
_LEFT_OUT = "/(breaker|events)$"


@attack(
    "requests made from `/openapi.json` by schemathesis, right and wrong",
    max_s=60.0,
    may_replace_scorers=True,  # a reload does, and no search is lost by it
)
async def openapi(target: Target) -> list[str]:
    """Every answer is one that the document describes."""
    config = target.folder / "schemathesis.toml"
    statuses = ", ".join(f'"{status}"' for status in ("2xx", "3xx", "4xx", *ALLOWED_FAILURES))
    config.write_text(_CONFIG.format(statuses=statuses), encoding="utf-8")
    seconds = _SECONDS_FULL if target.is_full else _SECONDS
    try:
        said, code = await _run(target, config, seconds)
    finally:
        await _drop_what_was_made(target)
    if code == 0:
        return []
    _, _, failures = said.partition(" FAILURES ")
    return [f"schemathesis ended with {code}: {(failures or said)[:3_000]}"]


async def _drop_what_was_made(target: Target) -> None:
    _, found = target.cluster.call("GET", "/v1/collections")
    for collection in found["collections"] if found else ():
        if collection["name"] != COLLECTION:
            await target.ask("DELETE", f"/v1/collections/{quote(collection['name'], safe='')}")


async def _run(target: Target, config: Path, seconds: int) -> tuple[str, int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        f"{target.cluster.url}/openapi.json",
        "--checks",
        ",".join(_CHECKS),
        "--seed",
        str(target.rng.getrandbits(32)),
        "--max-time",
        str(seconds),
        "--phases",
        "examples,coverage,fuzzing",
        "--exclude-path-regex",
        _LEFT_OUT,
        "--request-timeout",
        "15",
        "--generation-database",
        "none",
        "--no-color",
        "--continue-on-failure",
        "--max-failures",
        "20",
        "--no-shrink",
        cwd=target.folder,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), seconds + _MARGIN_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return f"no end within {seconds + _MARGIN_S} s", 1
    assert process.returncode is not None
    return output.decode(errors="replace"), process.returncode
