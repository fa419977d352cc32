"""Figures in files, written as they are measured, so that an interruption loses none."""

from pathlib import Path
from typing import TypeVar

import msgspec

from bench.search.figures import Comparison, Curve
from bench.search.growth import NAMES

T = TypeVar("T")
_COMPARISON = "comparison"


class Kept:
    """The parts of a page, a file each."""

    def __init__(self, folder: Path) -> None:
        """Keep them in `folder`."""
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def clear(self, *names: str) -> None:
        """Remove some parts by name; without names, the comparison of engines and all curves."""
        for name in names or (_COMPARISON, *NAMES):
            self._path(name).unlink(missing_ok=True)

    def write_comparison(self, comparison: Comparison, name: str = _COMPARISON) -> None:
        """Keep a comparison in its present state."""
        self._write(name, comparison)

    def write_curve(self, curve: Curve) -> None:
        """Keep a curve in its present state."""
        self._write(curve.name, curve)

    def comparison(self, name: str = _COMPARISON) -> Comparison | None:
        """The comparison of that name, if there is one."""
        return self._read(name, Comparison)

    def curves(self) -> list[Curve]:
        """The curves that are kept."""
        found = [self._read(name, Curve) for name in NAMES]
        return [curve for curve in found if curve]

    def _write(self, name: str, part: Comparison | Curve) -> None:
        written = self._path(name).with_suffix(".new")
        written.write_bytes(msgspec.json.format(msgspec.json.encode(part)))
        written.replace(self._path(name))

    def _read(self, name: str, kind: type[T]) -> T | None:
        path = self._path(name)
        if not path.exists():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=kind)
        except msgspec.ValidationError:  # of an earlier format
            return None

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.json"
