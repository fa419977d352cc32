"""`python -m nemesis.cluster.packets DEVICE SEED`: delays, loses and reorders packets.

Reads IP packets from a TUN device, and writes each back later, or not at all. Commands are lines of
JSON on standard input: `{"add": number, "pairs": [[source, target], …], "delay_ms": …}` and
`{"remove": number}`. A packet that no disturbance concerns goes on at once.
"""

import contextlib
import fcntl
import heapq
import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

_SET_TUN: Final = 0x400454CA  # TUNSETIFF
_TUN_WITHOUT_HEADER: Final = 0x1001  # IFF_TUN | IFF_NO_PI
_MOST_PACKETS: Final = 10_000  # that wait, as in a router whose buffer is bounded


@dataclass
class Wire:
    """Decides how late each packet is; `None`: it is lost."""

    chance: random.Random
    disturbances: dict[int, dict[str, Any]] = field(default_factory=dict)

    def tell(self, command: dict[str, Any]) -> None:
        """Take a command."""
        if "add" in command:
            self.disturbances[command["add"]] = command
        else:
            self.disturbances.pop(command["remove"], None)

    def delay_s(self, source: str, target: str) -> float | None:
        """The delay of the next packet in this direction."""
        delay_ms = 0.0
        for one in self.disturbances.values():
            if [source, target] in one["pairs"]:
                if self.chance.random() < one["loss"]:
                    return None
                if self.chance.random() >= one["reorder"]:
                    jitter_ms = one["jitter_ms"]
                    delay_ms += one["delay_ms"] + self.chance.uniform(-jitter_ms, jitter_ms)
        return max(0.0, delay_ms) / 1e3


def main() -> None:
    """Forward until standard input ends."""
    device, seed = sys.argv[1:]
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, _SET_TUN, struct.pack("16sH22s", device.encode(), _TUN_WITHOUT_HEADER, b""))
    wire = Wire(random.Random(int(seed)))
    waiting: list[tuple[float, int, bytes]] = []
    order = itertools.count()
    commands = sys.stdin.fileno()  # unbuffered, for select
    partial = b""
    while True:
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            with contextlib.suppress(OSError):  # a full queue loses a packet, as anywhere
                os.write(tun, heapq.heappop(waiting)[2])
        timeout_s = waiting[0][0] - now if waiting else None
        readable, _, _ = select.select([tun, commands], [], [], timeout_s)
        if commands in readable:
            received = os.read(commands, 65_536)
            if not received:
                return
            *lines, partial = (partial + received).split(b"\n")
            for line in lines:
                wire.tell(json.loads(line))
        if tun in readable:
            with contextlib.suppress(BlockingIOError):
                for _ in range(64):
                    packet = os.read(tun, 65_536)
                    if packet[0] >> 4 != 4:  # not IPv4
                        continue
                    source = socket.inet_ntoa(packet[12:16])
                    delay_s = wire.delay_s(source, socket.inet_ntoa(packet[16:20]))
                    if delay_s is not None and len(waiting) < _MOST_PACKETS:
                        due = time.monotonic() + delay_s
                        heapq.heappush(waiting, (due, next(order), packet))


if __name__ == "__main__":
    main()
