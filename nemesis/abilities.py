"""What this machine can do: each ability is tried, and what is missing is said with the reason."""

import fcntl
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

NAMESPACES: Final = "namespaces"
PACKETS: Final = "packets"
DISKS: Final = "disks"
SLOW_DISKS: Final = "slow disks"
MEMORY: Final = "memory"
CLOCKS: Final = "clocks"

MEMORY_GROUPS: Final = Path("/sys/fs/cgroup/memory")
BLOCK_GROUPS: Final = Path("/sys/fs/cgroup/blkio")
UNIFIED_GROUPS: Final = Path("/sys/fs/cgroup")
FAKE_CLOCKS: Final = (
    Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1"),
    Path("/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1"),
)
_SET_TUN: Final = 0x400454CA  # TUNSETIFF
_TUN_WITHOUT_HEADER: Final = 0x1001  # IFF_TUN | IFF_NO_PI


@dataclass(frozen=True, slots=True)
class Abilities:
    """What was tried.

    Attributes:
        present: abilities that the machine has.
        missing: ability → what was tried, and how it failed.
    """

    present: frozenset[str]
    missing: dict[str, str]

    def without(self, *abilities: str, why: str) -> "Abilities":
        """The same machine if it lacked these."""
        return Abilities(self.present - {*abilities}, self.missing | dict.fromkeys(abilities, why))


class CannotError(Exception):
    """The machine lacks an ability; the message says what was tried."""


def what_it_lacks() -> list[str]:
    """What a run cannot do without, in words; empty if it can begin."""
    if not sys.platform.startswith("linux"):
        return ["Linux"]
    if os.geteuid() != 0:
        return ["root: it stops and limits processes, and makes namespaces, disks and groups"]
    return [f"`{tool}`" for tool in ("env", "sh") if shutil.which(tool) is None]


def find_abilities() -> Abilities:
    """Try each ability."""
    present: set[str] = set()
    missing: dict[str, str] = {}
    for ability, attempt in _ATTEMPTS.items():
        try:
            attempt()
        except CannotError as error:
            missing[ability] = str(error)
        else:
            present.add(ability)
    if PACKETS in present and NAMESPACES not in present:
        present.remove(PACKETS)
        missing[PACKETS] = "packets are delayed between namespaces, which are missing"
    return Abilities(frozenset(present), missing)


def fake_clock() -> Path | None:
    """The library that moves a process's wall clock, if it is installed."""
    return next((library for library in FAKE_CLOCKS if library.exists()), None)


def has_memory_groups() -> bool:
    """Whether memory is limited by control groups of version 1; otherwise by those of version 2."""
    return (MEMORY_GROUPS / "memory.limit_in_bytes").exists()


def has_block_groups() -> bool:
    """The same for disks."""
    return (BLOCK_GROUPS / "blkio.throttle.write_bps_device").exists()


def _try_namespaces() -> None:
    name = f"nemesis-try-{os.getpid()}"
    _run("nsenter", "--version")
    try:
        _run("ip", "netns", "add", name)
        _run("ip", "-n", name, "link", "add", "nm0", "type", "veth", "peer", "name", "nm1")
        _run("ip", "-n", name, "rule", "add", "iif", "nm0", "to", "10.1.1.1", "blackhole")
    finally:
        subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _try_packets() -> None:
    try:
        tun = os.open("/dev/net/tun", os.O_RDWR)
    except OSError as error:
        raise CannotError(f"/dev/net/tun: {error.strerror}") from error
    try:
        request = struct.pack("16sH22s", b"nm%d", _TUN_WITHOUT_HEADER, b"")
        fcntl.ioctl(tun, _SET_TUN, request)
    except OSError as error:
        raise CannotError(f"a TUN device: {error.strerror}") from error
    finally:
        os.close(tun)


def _try_disks() -> None:
    for tool in ("losetup", "mkfs.ext4", "mount", "umount"):
        if shutil.which(tool) is None:
            raise CannotError(f"`{tool}` is not installed")
    _run("losetup", "--find")


def _try_slow_disks() -> None:
    _try_disks()
    if not has_block_groups() and "io" not in _unified_controllers():
        raise CannotError("no control group limits the rate of a disk (blkio or io)")


def _try_memory() -> None:
    if not has_memory_groups() and "memory" not in _unified_controllers():
        raise CannotError("no control group limits memory")


def _try_clocks() -> None:
    if fake_clock() is None:
        raise CannotError("libfaketime is not installed (Debian's package libfaketime)")


def _unified_controllers() -> list[str]:
    try:
        return (UNIFIED_GROUPS / "cgroup.subtree_control").read_text().split()
    except OSError:
        return []


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except OSError as error:
        raise CannotError(f"`{command[0]}`: {error.strerror}") from error
    if done.returncode:
        raise CannotError(f"`{' '.join(command)}`: {done.stderr.strip()[:200]}")


_ATTEMPTS: Final[dict[str, Callable[[], None]]] = {
    NAMESPACES: _try_namespaces,
    PACKETS: _try_packets,
    DISKS: _try_disks,
    SLOW_DISKS: _try_slow_disks,
    MEMORY: _try_memory,
    CLOCKS: _try_clocks,
}
