"""When to go on with a copy of documents that gives way to searches. Pure."""

from typing import Final, NamedTuple, Self

LONGEST_GIVING_WAY_S: Final = 0.5


class Rest(NamedTuple):
    """When the next documents may be copied, in s.

    Attributes:
        earliest: not before, unless it is urgent.
        latest: then in any case, so that a copy ends on a machine that is always busy.
    """

    earliest: float
    latest: float

    @classmethod
    def after(cls, began: float, now: float, share: float) -> Self:
        """The rest after documents that were copied at `began` and applied by `now`.

        Args:
            began: when they were copied.
            now: when they were applied.
            share: which part of the time may be spent on copies; more than 0, at most 1.
        """
        earliest = now + max(0.0, now - began) * (1.0 / share - 1.0)
        return cls(earliest, earliest + LONGEST_GIVING_WAY_S)

    @classmethod
    def after_clone(cls, began: float, now: float, cpu_s: float, share: float) -> Self:
        """The rest of a clone, to which the system gives the CPU last: it need not give way itself.

        Args:
            began: when it went on.
            now: when it stopped.
            cpu_s: CPU time that it took meanwhile.
            share: as for `after`; it may take twice this part of a core, as a copy does that two
                replicas apply.
        """
        latest = max(now, began + cpu_s / (2 * share))
        return cls(latest, latest)

    def is_over(self, now: float, *, is_busy: bool, is_urgent: bool) -> bool:
        """Whether to go on now.

        Args:
            now: the time.
            is_busy: whether searches wait here.
            is_urgent: whether there is no time for it: a log that is kept meanwhile gets too long.
        """
        return is_urgent or now >= (self.latest if is_busy else self.earliest)
