"""What an attack is, and the registry of all of them."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.hostile.cluster import AS_IT_COMES, Ground
from tests.hostile.target import Target

Run = Callable[[Target], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class Attack:
    """An attack.

    Attributes:
        name: how it is chosen and shown.
        sends: what it does, with its strength.
        was: what it did before there was anything against it.
        run: does it; returns what it finds wrong beside what is measured of every attack.
        ground: on what kind of cluster.
        max_s: it is ended after this time in the ring, in s, unless it has stopped by itself.
        is_reproduction: whether it repeats one known attack, or generates many.
        min_searches: how many searches of the normal client must be seen beside and after it.
        needs: what it needs of the machine: `mount`, `pyarrow`, or nothing.
        may_replace_scorers: whether scorers may be replaced, because they run on past their
            deadline or profiles are reloaded; all other processes must stay.
    """

    name: str
    sends: str
    was: str
    run: Run
    ground: Ground = AS_IT_COMES
    max_s: float = 25.0
    is_reproduction: bool = True
    min_searches: int = 100
    needs: str = ""
    may_replace_scorers: bool = False


# Enough for what sends little, and could hurt only by what it is answered.
FEW_SEARCHES = 30

REGISTRY: dict[str, Attack] = {}


def attack(
    sends: str,
    was: str = "",
    *,
    ground: Ground = AS_IT_COMES,
    max_s: float = 25.0,
    min_searches: int = 100,
    needs: str = "",
    may_replace_scorers: bool = False,
) -> Callable[[Run], Run]:
    """Register the decorated function as an attack, under its own name."""

    def register(run: Run) -> Run:
        name = getattr(run, "__name__", "").replace("_", "-")
        REGISTRY[name] = Attack(
            name=name,
            sends=sends,
            was=was,
            run=run,
            ground=ground,
            max_s=max_s,
            min_searches=min_searches,
            needs=needs,
            may_replace_scorers=may_replace_scorers,
        )
        return run

    return register
