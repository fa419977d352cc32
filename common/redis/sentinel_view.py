"""Decides which server is the primary, from what the sentinels say."""

from collections import Counter
from typing import NamedTuple


class Address(NamedTuple):
    """Where a server is."""

    host: str
    port: int

    def __str__(self) -> str:
        """As HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Report(NamedTuple):
    """What one sentinel says.

    Attributes:
        epoch: the failover's number; a later failover has a higher one.
        address: the primary since then.
    """

    epoch: int
    address: Address


class SentinelView:
    """The newest report of each sentinel.

    Sentinels learn of a failover one after another, and one that was away still names the old
    primary. So the highest epoch decides, not the latest report. Reports of sentinels that do not
    answer any more stay: the primary may live while they are down.

    Attributes:
        primary: where the primary is; None if no sentinel has said so yet.
    """

    def __init__(self) -> None:
        self.primary: Address | None = None
        self._reports: dict[str, Report] = {}

    def take(self, sentinel: str, report: Report) -> bool:
        """Take a sentinel's report into account; returns whether the primary is another one now."""
        self._reports[sentinel] = report
        newest = max(report.epoch for report in self._reports.values())
        votes = Counter(
            report.address for report in self._reports.values() if report.epoch == newest
        )
        # Within an epoch they only disagree if they were configured by hand: then the most decide.
        most = max(votes.values())
        chosen = [address for address, number in votes.items() if number == most]
        if self.primary in chosen:
            return False
        self.primary = chosen[0]
        return True
