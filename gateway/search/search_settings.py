"""The settings that a search reads."""

from collections.abc import Mapping
from typing import NamedTuple

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.tail import CoverageSettings, HedgingSettings


class SearchSettings(NamedTuple):
    """The groups of the settings that a search reads.

    Attributes:
        gateway: limits of a request and of an answer.
        limits: what a query may cost.
        profiles: name → rank profile.
        hedging: when to send second copies.
        coverage: how long to wait for the rest, once enough is covered.
        max_attached_bytes: limit on the documents that all replies to a search attach together; 0
            for none.
    """

    gateway: GatewaySettings
    limits: QuerySettings
    profiles: Mapping[str, RankProfile]
    hedging: HedgingSettings
    coverage: CoverageSettings
    max_attached_bytes: int = 0

    @classmethod
    def of(cls, settings: Settings) -> "SearchSettings":
        """Take these groups from all settings."""
        return cls(
            gateway=settings.gateway,
            limits=settings.query,
            profiles=settings.rank_profiles,
            hedging=settings.hedging,
            coverage=settings.coverage,
            max_attached_bytes=min(
                settings.limits.max_attached_bytes, settings.limits.max_fetch_bytes
            ),
        )
