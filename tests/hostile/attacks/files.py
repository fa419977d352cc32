"""What lies on the disk: files for `gateway index`, and the data folder itself."""

import asyncio
import gzip
import importlib.util
import os
import resource
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.hostile.attack import FEW_SEARCHES, attack
from tests.hostile.target import Target
from tests.hostile.verdict import MB
from tests.support.commands import GATEWAY

_COMMAND_MB = 300.0
_COMMAND_S = 30.0


@dataclass(frozen=True, slots=True)
class Command:
    """How a command ended.

    Attributes:
        code: its exit status; None when it had to be killed.
        peak_mb: the most memory that it had.
    """

    code: int | None
    output: str
    peak_mb: float


async def index(target: Target, source: Path, collection: str) -> Command:
    """Run `gateway index`, for a bounded time and with bounded memory."""
    with tempfile.TemporaryFile() as output:
        process = await asyncio.create_subprocess_exec(
            *GATEWAY,
            "index",
            str(source),
            "--collection",
            collection,
            "--url",
            target.cluster.url,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
        # A bomb must not take the machine down with it.
        resource.prlimit(process.pid, resource.RLIMIT_AS, (6_000 * MB, 6_000 * MB))
        peak_mb = 0.0
        ends_at = asyncio.get_running_loop().time() + _COMMAND_S
        while process.returncode is None and asyncio.get_running_loop().time() < ends_at:
            peak_mb = max(peak_mb, _peak_mb(process.pid))
            await asyncio.sleep(0.02)
        code = process.returncode
        if code is None:
            process.kill()
            await process.wait()
        output.seek(0)
        return Command(code, output.read().decode(errors="replace"), peak_mb)


def _peak_mb(pid: int) -> float:
    """The most memory that a process has ever had (VmHWM)."""
    try:
        told = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").partition("VmHWM:")[2]
        return int(told.split(maxsplit=1)[0]) * 1024 / MB
    except (OSError, IndexError, ValueError):
        return 0.0


def complaints_about(command: Command, what: str) -> list[str]:
    """What every run of the command must be: bounded, finite, and without a traceback."""
    complaints = []
    if command.code is None:
        complaints.append(f"{what}: no end within {_COMMAND_S:g} s")
    elif command.code not in (0, 1, 2):
        complaints.append(f"{what}: exit status {command.code}")
    if "Traceback" in command.output:
        complaints.append(f"{what}: a traceback: {command.output[-300:]}")
    if command.peak_mb > _COMMAND_MB:
        complaints.append(f"{what}: the command took {command.peak_mb:.0f} MB")
    return complaints


@attack(
    "`gateway index FOLDER` with links to a file and to a folder elsewhere",
    "what the link named was indexed",
    min_searches=FEW_SEARCHES,
)
async def links_in_a_folder(target: Target) -> list[str]:
    """A folder yields only the files that are inside it."""
    secret, folder = target.folder / "secret", target.folder / "notes"
    secret.mkdir()
    folder.mkdir()
    (secret / "password.txt").write_text("correct horse battery staple", encoding="utf-8")
    (folder / "plain.txt").write_text("an ordinary note", encoding="utf-8")
    (folder / "link.txt").symlink_to(secret / "password.txt")
    (folder / "upwards.txt").symlink_to("../secret/password.txt")
    (folder / "linked").symlink_to(secret, target_is_directory=True)
    async with target.own_collection("notes", {"text": "text", "path": "keyword"}):
        command = await index(target, folder, "notes")
        path = "/v1/collections/notes/search"
        found = await target.ask("POST", path, {"query": "horse", "deadline_ms": 1_000})
        plain = await target.ask("POST", path, {"query": "ordinary", "deadline_ms": 1_000})
    complaints = complaints_about(command, "the folder")
    if b'"id":' in found.body:
        complaints.append("a file outside of the folder was indexed")
    if b'"plain.txt"' not in plain.body:
        complaints.append(f"the file inside was not: {command.output[-200:]}")
    return complaints


@attack(
    "`gateway index` of an 815 KB `.csv.gz` of 800 MB, in one cell and in many columns",
    "4.2 GB in the command",
    max_s=75.0,
)
async def gzip_bombs(target: Target) -> list[str]:
    """What is read from a packed file is bounded as it unpacks."""
    complaints = []
    for name, block in (("cell", b"a" * MB), ("columns", b"a," * (MB // 2))):
        source = target.folder / f"{name}.csv.gz"
        # Packed files can be put one behind the other, so that one block is packed once.
        packed = gzip.compress(block)
        with source.open("wb") as file:
            file.write(gzip.compress(b"id,text\n1,"))
            for _ in range(800):
                file.write(packed)
        async with target.own_collection("bombs"):
            complaints += complaints_about(await index(target, source, "bombs"), name)
    return complaints


@attack(
    "`gateway index` of a Parquet file of a few KB whose 1,100 rows share a string of 1.2 MB",
    "1.2 GB in the command",
    max_s=75.0,
    needs="pyarrow",
)
async def parquet_bomb(target: Target) -> list[str]:
    """The number of rows read at a time follows from their size."""
    source = target.folder / "bomb.parquet"
    await asyncio.to_thread(_write_parquet_bomb, source)
    async with target.own_collection("bombs"):
        command = await index(target, source, "bombs")
    return complaints_about(command, "the Parquet file")


def _write_parquet_bomb(path: Path) -> None:
    """Each row is a little larger than a document may be, so that none goes on to the gateway."""
    import pyarrow as pa  # noqa: PLC0415 - an optional dependency
    from pyarrow import parquet  # noqa: PLC0415

    text = pa.DictionaryArray.from_arrays(
        pa.array([0] * 1_100, pa.int32()), pa.array(["a" * 1_200_000])
    )
    table = pa.table({"id": [str(number) for number in range(1_100)], "text": text})
    parquet.write_table(table, path, compression="zstd", use_dictionary=True)


def has_pyarrow() -> bool:
    """Whether Parquet files can be made and read here."""
    return importlib.util.find_spec("pyarrow") is not None


@attack(
    "a look at the data folder as another user of the machine",
    "`store.sqlite` was readable",
    min_searches=FEW_SEARCHES,
)
async def data_folder(target: Target) -> list[str]:
    """Nothing of what is stored can be read by other users."""
    return sorted(await asyncio.to_thread(_readable_by_others, target.cluster.data))[:5]


def _readable_by_others(data: Path) -> list[str]:
    """Files below a folder that a user without rights of its own could open."""
    found = []
    for parent, folders, names in os.walk(data):
        here = Path(parent)
        others = stat.S_IRGRP | stat.S_IXGRP | stat.S_IROTH | stat.S_IXOTH
        if not here.stat().st_mode & others:
            folders.clear()  # no other user gets below
            continue
        for name in names:
            mode = (here / name).lstat().st_mode
            if stat.S_ISREG(mode) and mode & (stat.S_IRGRP | stat.S_IROTH):
                found.append(f"{(here / name).relative_to(data)} has mode {stat.S_IMODE(mode):o}")
    return found
