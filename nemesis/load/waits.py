"""How long a call was kept waiting by this machine, which says nothing about the product."""

import asyncio
from pathlib import Path

_TICK_S = 0.005


class LoopLag:
    """How late this process's event loop runs what is due."""

    def __init__(self) -> None:
        """Run `watch` beside the calls."""
        self._late: list[tuple[float, float]] = []  # (when it was noticed, by how much), ascending
        self._due = 0.0

    async def watch(self) -> None:
        """Tick until cancelled."""
        now = asyncio.get_running_loop().time
        while True:
            self._due = now() + _TICK_S
            await asyncio.sleep(_TICK_S)
            late = now() - self._due
            if late > 0.001:
                self._late.append((now(), late))
                if len(self._late) > 10_000:
                    del self._late[:5_000]

    def within(self, at: float, until: float) -> float:
        """The worst lag of any part of this time, in ms; asked when the time ends."""
        overdue = max(0.0, until - self._due)
        worst = overdue
        for noticed, late in reversed(self._late):
            if noticed < at:
                break
            worst = max(worst, late)
        return worst * 1e3


def run_queue_ms(pid: int) -> float:
    """How long a process's main thread has waited for a core since it started, in ms (Linux)."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e6
    except (OSError, IndexError):
        return 0.0
