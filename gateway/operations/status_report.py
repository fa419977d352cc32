"""Collects the status of a gateway from its parts."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from hedgerow.gateway.members.membership import Membership
from hedgerow.gateway.members.outlier_ejection import OutlierEjection
from hedgerow.gateway.operations.shared_state import SharedStateReader
from hedgerow.gateway.operations.status import cluster_status
from hedgerow.gateway.search.coverage.late_replies import CoverageCurves
from hedgerow.gateway.search.coverage.report import coverage_report
from hedgerow.gateway.search.guards.profile_guards import ProfileGuards
from hedgerow.gateway.shapes.collection import Filling
from hedgerow.gateway.writes.collections import Collections
from hedgerow.gateway.writes.storage_gate import StorageGate

_REPORTED_AT_ONCE: Final = 16  # curves, of 0.1 ms each, between two turns of the loop


@dataclass(frozen=True, slots=True)
class StatusReport:
    """Makes the status.

    Attributes:
        shared: reads the state that all gateways share.
        own: returns the status of this gateway itself.
        deadline_ms: the deadline for which the coverage curves are reported, in ms.
        server_ms: the Redis server's clock.
    """

    shared: SharedStateReader
    collections: Collections
    membership: Membership
    ejection: OutlierEjection
    storage: StorageGate
    guards: ProfileGuards
    curves: CoverageCurves
    own: Callable[[], Mapping[str, Any]]
    deadline_ms: float
    server_ms: Callable[[], int]

    async def make(self) -> dict[str, Any]:
        """Return the state of the cluster, as `gateway status --json` prints it."""
        state = await self.shared.read(self.collections.uids(), self.server_ms())
        names = self.collections.names()
        curves = await self._curves_of(names)
        now, now_ms = asyncio.get_running_loop().time(), self.server_ms()
        return cluster_status(
            server=state.server,
            backlog=state.backlog,
            statistics=state.statistics,
            snapshots=state.snapshots,
            optimising=state.optimising,
            fillings=self._fillings(names),
            quarantine=state.quarantine,
            shortages=self.storage.list(),
            membership=self.membership,
            probation=self.ejection.entries(now_ms),
            breakers=self.guards.shared.breakers,
            profile_breakers=self.guards.states(now),
            now=now,
            now_ms=now_ms,
            names=names,
            curves=curves,
            gateway=self.own(),
            gateways=state.gateways,
            split=state.split,
            reindex=state.reindex,
        )

    def _fillings(self, names: Mapping[str, str]) -> dict[str, Filling]:
        found = {
            uid: self.membership.filling_of(self.collections.get(name))
            for uid, name in names.items()
        }
        return {uid: filling for uid, filling in found.items() if filling is not None}

    async def _curves_of(self, uids: Mapping[str, str]) -> dict[str, Any]:
        curves = {}
        for number, uid in enumerate(uids, start=1):
            curves[uid] = coverage_report(self.curves.curve(uid), self.deadline_ms, is_brief=True)
            if number % _REPORTED_AT_ONCE == 0:
                await asyncio.sleep(0)
        return curves
