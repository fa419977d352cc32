"""The state of admission control, for the status."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AdmissionSnapshot:
    """The state of admission control, as `status` shows it.

    Attributes:
        limit: how many queries may be in flight now.
        in_flight: priority → queries in flight.
        refused: cause → priority → queries refused since the start.
        forecast_ms: for each shard, how long a request sent now would wait in its queue, in ms.
    """

    is_enabled: bool
    limit: int
    in_flight: dict[str, int]
    refused: dict[str, dict[str, int]]
    forecast_ms: list[float]

    def to_json(self) -> dict[str, Any]:
        """Return it as in `status`; docs/http.md describes it."""
        return {
            "enabled": self.is_enabled,
            "limit": self.limit,
            "in_flight": self.in_flight,
            "refused": self.refused,
            "forecast_ms": self.forecast_ms,
        }
