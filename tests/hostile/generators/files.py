"""Files for `gateway index`: JSON lines, CSV, compressed and cut short, and folders of anything."""

import csv
import gzip
import io
from collections.abc import Sequence
from pathlib import Path
from random import Random

from tests.hostile.attacks.files import complaints_about, index
from tests.hostile.generators.documents import document
from tests.hostile.generators.texts import almost_json, damage, text
from tests.hostile.target import Target

_ROUNDS, _ROUNDS_FULL = 4, 40


async def odd_files(target: Target) -> Sequence[str]:
    """Give the command one odd file or folder after another."""
    complaints: list[str] = []
    for number in range(_ROUNDS_FULL if target.is_full else _ROUNDS):
        rng = Random(f"{target.rng.getrandbits(64)}")
        folder = target.folder / str(number)
        folder.mkdir()
        source = rng.choice((_json_lines, _csv, _packed, _folder, _parquet))(rng, folder)
        async with target.own_collection("odd-files"):
            command = await index(target, source, "odd-files")
        complaints += complaints_about(command, f"file {number} ({source.name})")
    return complaints


def _json_lines(rng: Random, folder: Path) -> Path:
    path = folder / "odd.jsonl"
    path.write_bytes(_lines(rng))
    return path


def _lines(rng: Random) -> bytes:
    ending = rng.choice((b"\n", b"\r\n", b"\r", b"\n\n"))
    return ending.join(almost_json(rng, document(rng)) for _ in range(rng.randint(0, 200)))


def _csv(rng: Random, folder: Path) -> Path:
    path = folder / "odd.csv"
    path.write_bytes(_table(rng))
    return path


def _table(rng: Random) -> bytes:
    written = io.StringIO()
    dialect = rng.choice(("excel", "excel-tab", "unix"))
    rows = csv.writer(written, dialect, escapechar="\\")
    rows.writerow(["id", *(text(rng) for _ in range(rng.randint(0, 5)))])
    for number in range(rng.randint(0, 100)):
        rows.writerow([number, *(text(rng) for _ in range(rng.randint(0, 6)))])
    raw = written.getvalue().encode(rng.choice(("utf-8", "utf-8", "utf-16")), "replace")
    return damage(rng, raw) if rng.random() < 0.5 else raw


def _packed(rng: Random, folder: Path) -> Path:
    make, ending = rng.choice(((_lines, "jsonl.gz"), (_table, "csv.gz")))
    path = folder / f"odd.{ending}"
    packed = gzip.compress(make(rng))
    path.write_bytes(damage(rng, packed) if rng.random() < 0.6 else packed)
    return path


def _parquet(rng: Random, folder: Path) -> Path:
    path = folder / "odd.parquet"
    path.write_bytes(b"PAR1" + rng.randbytes(rng.randint(0, 2_000)) + b"PAR1")
    return path


def _folder(rng: Random, folder: Path) -> Path:
    (folder / "a").mkdir()
    for number in range(rng.randint(0, 20)):
        name = f"{number}-{rng.choice(('plain', 'na ïve', '-rf', 'line' + chr(10) + 'break'))}.txt"
        content = rng.choice((b"some words", b"", b"\0", rng.randbytes(50), b"a" * 3_000_000))
        (folder / rng.choice(("", "a")) / name).write_bytes(content)
    (folder / "loop").symlink_to(folder)
    (folder / "nowhere").symlink_to("nothing-here")
    return folder
