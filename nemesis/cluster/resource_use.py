"""What a process of the cluster uses now."""

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from bench.harness.processes import shared_bytes
from nemesis.cluster.program import Program
from nemesis.history import Resources


def resources_of(program: Program, phase: Literal["before", "after"]) -> Resources | None:
    """The use of a process and of what it has started; None while it does not run."""
    family = program.family()
    if not family:
        return None
    descriptors = 0
    with contextlib.suppress(OSError):
        descriptors = len(list(Path(f"/proc/{family[0]}/fd").iterdir()))
    return Resources(
        at=time.monotonic(),
        phase=phase,
        name=program.name,
        pid=family[0],
        descriptors=descriptors,
        memory_mb=round(shared_bytes(family) / 1e6, 1),
        processes=len(family),
        parts=_parts(family),
    )


def _parts(family: Sequence[int]) -> dict[str, float]:
    """Memory in MB by the names of the processes."""
    named: dict[str, list[int]] = {}
    for pid in family:
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{pid}/comm").read_text(encoding="utf-8", errors="replace").strip()
            named.setdefault(name, []).append(pid)
    return {name: round(shared_bytes(pids) / 1e6, 1) for name, pids in named.items()}
