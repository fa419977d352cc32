"""All the attacks of the ring, in the order in which they run."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from tests.hostile.attack import Attack
from tests.hostile.attacks import ATTACKS
from tests.hostile.attacks.files import has_pyarrow
from tests.hostile.cluster import AS_IT_COMES, file_system
from tests.hostile.generators import GENERATORS

_LONG_S = 200.0


def in_order(attacks: Iterable[Attack]) -> tuple[Attack, ...]:
    """Attacks on equal grounds one after the other, since they share a cluster; long ones last."""

    def place(attack: Attack) -> tuple[bool, bool, str]:
        return attack.max_s > _LONG_S, attack.ground != AS_IT_COMES, repr(attack.ground)

    return tuple(sorted(attacks, key=place))


EVERYTHING = in_order((*ATTACKS, *GENERATORS))


def missing() -> frozenset[str]:
    """What some attacks need and this machine lacks."""
    has = {"mount": can_mount(), "pyarrow": has_pyarrow()}
    return frozenset(need for need, is_there in has.items() if not is_there)


def can_mount() -> bool:
    """Whether this process may mount a file system."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="hedgerow-hostile-") as name:
        try:
            with file_system(Path(name), 1):
                return True
        except (subprocess.CalledProcessError, OSError):
            return False
