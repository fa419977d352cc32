"""The settings that a search reads."""

from collections.abc import Mapping
from typing import NamedTuple

from hedgerow.common.settings.gateway import GatewaySettings
from hedgerow.common.settings.query_limits import QuerySettings
from hedgerow.common.settings.rank_profiles import RankProfile
from hedgerow.common.settings.settings import Settings
from hedgerow.common.settings.tail import CoverageSettings, HedgingSettings


class SearchSettings(NamedTuple):
    """Those groups of the settings that a search reads.

    Attributes:
        gateway: limits of a request and of an answer.
        limits: what a query may cost.
        profiles: name → rank profile.
        hedging: when second copies are sent.
        coverage: how long the rest is waited for, once enough is covered.
    """

    gateway: GatewaySettings
    limits: QuerySettings
    profiles: Mapping[str, RankProfile]
    hedging: HedgingSettings
    coverage: CoverageSettings

    @classmethod
    def of(cls, settings: Settings) -> "SearchSettings":
        """Take them out of all settings."""
        return cls(
            gateway=settings.gateway,
            limits=settings.query,
            profiles=settings.rank_profiles,
            hedging=settings.hedging,
            coverage=settings.coverage,
        )
