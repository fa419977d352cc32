"""What runs out: threads, scorers, and the disk."""

import asyncio
import contextlib
import shutil
import time
from functools import partial
from pathlib import Path

from tests.hostile.attack import attack
from tests.hostile.attacks.queries import unexpected
from tests.hostile.cluster import Ground
from tests.hostile.sockets import Answer
from tests.hostile.target import Target
from tests.hostile.verdict import MB
from tests.support.waiting import comes_true

_FULL_S = 8.0
_PROFILES = """
[rank_profiles.blocking]
enrich = "tests.hostile.hooks:block"

[rank_profiles.burning]
second_phase = "tests.hostile.hooks:burn"
"""
_WITH_HOOKS = Ground(config=_PROFILES, num_documents=2_000)


@attack(
    "searches with a profile whose `enrich` blocks for 20 s, sixteen at a time",
    "every thread of the worker was taken: hits of every other profile came without fields",
    ground=_WITH_HOOKS,
)
async def blocking_enrich(target: Target) -> list[str]:
    """The threads that a profile's code holds are bounded; others always have some."""
    return await _search_all_the_time(target, "blocking", "parse a date")


@attack(
    "searches with a profile whose second phase computes for ever, sixteen at a time, with escape "
    "characters in their text",
    "the shards' breakers opened; the escape characters reached the terminal of `gateway up`",
    ground=_WITH_HOOKS,
    may_replace_scorers=True,
)
async def burning_second_phase(target: Target) -> list[str]:
    """The scorers that a profile's code holds are bounded too."""
    size = len(target.cluster.output)
    complaints = await _search_all_the_time(target, "burning", "parse \x1b[31m\x07 a date")
    return complaints + target.cluster.escapes_since(size)


async def _search_all_the_time(target: Target, profile: str, query: str) -> list[str]:
    ends_at = time.monotonic() + 5.0
    answers: list[Answer] = []

    async def ask() -> None:
        while time.monotonic() < ends_at:
            answers.append(await target.search(query, rank_profile=profile))

    await asyncio.gather(*(ask() for _ in range(16)))
    return unexpected(answers, {200, 400, 429, 503, 504})


_ON_A_SMALL_DISK = Ground(tmpfs_mb=60, num_documents=2_000)
_LINES = [b'{"id":"fill%d","title":"%b"}\n' % (number, b"text " * 2_000) for number in range(50)]


@attack(
    "writes until the disk is full (a file system of 60 MB), and on",
    "`index` said that it is not a gateway; gateway and workers restarted in a loop, and searching "
    "stopped",
    ground=_ON_A_SMALL_DISK,
    max_s=45.0,
    # The queues stop once, until the full disk is noticed: for two searches or so.
    min_searches=250,
    needs="mount",
)
async def full_disk(target: Target) -> list[str]:
    """Searching goes on; writes get 507 and the reason; the shortage ends by itself."""
    complaints = []
    filler = target.cluster.folder / "filler"
    async with target.own_collection("filling", {"title": "text"}) as name:
        await target.load(name, _LINES[:1])
        _fill(filler, leave_bytes=6 * MB)
        refusal = Answer(0)
        for _ in range(40):
            refusal = await target.load(name, _LINES, timeout_s=5.0)
            if refusal.status != 200:
                break
        if refusal.status != 507:
            complaints.append(f"a write onto a full disk: {refusal.status} {refusal.body[:100]!r}")
        _fill(filler, leave_bytes=0)
        if not await comes_true(partial(_is_known_to_be_full, target), within_s=10.0):
            complaints.append("with no byte left, the status does not say that the disk is full")
        await asyncio.sleep(_FULL_S)  # searching goes on meanwhile
        again = await target.load(name, _LINES[:1], timeout_s=5.0)
        complaints += [f"with no byte left: {text}" for text in unexpected([again], {507})]
        filler.unlink(missing_ok=True)
        complaints += await _is_writable_again(target, name)
    return complaints


async def _is_writable_again(target: Target, collection: str) -> list[str]:
    answer = Answer(0)

    async def is_taken() -> bool:
        nonlocal answer
        answer = await target.load(collection, _LINES[:1], timeout_s=5.0)
        return answer.status == 200

    if await comes_true(is_taken, within_s=10.0, every_s=0.25):
        return []
    return [f"10 s after there was room again, a write is refused with {answer.status}"]


async def _is_known_to_be_full(target: Target) -> bool:
    status = await asyncio.to_thread(target.cluster.status)
    return any((one["resource"], one["state"]) == ("disk", "full") for one in status["shortages"])


def _fill(path: Path, leave_bytes: int) -> None:
    """Let a file grow until this many bytes are left on its file system."""
    # Others write meanwhile, so that the last bytes may be gone before they are asked for.
    with contextlib.suppress(OSError), path.open("ab", buffering=0) as file:
        while (free := shutil.disk_usage(path.parent).free) > leave_bytes:
            file.write(b"\1" * max(1, min(MB, free - leave_bytes)))
