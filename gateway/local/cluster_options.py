"""What a cluster on this machine is to consist of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hedgerow.gateway.local.processes.restart_policy import RestartPolicy
from hedgerow.gateway.local.sizing import Asked


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """What to run.

    Attributes:
        data: the folder for all stored data.
        num_shards: None for as many as the folder's cluster has; for a new one, by the cores.
        num_workers: None for as many as fit the machine, but no more than there are replicas.
        num_replicas: replicas of each shard, each on a different worker; None for as many as the
            folder has, or 1 for a new one.
        host: address that the gateway binds.
        port: port that the gateway binds; 0 for any free one.
        redis_url: the server to use; None for an embedded one.
        redis_nodes: how many nodes of an embedded Valkey Cluster carry queries and logs; 0 for as
            many as the folder has, or none for a new one.
        restart: the pauses before a process that died is restarted.
        announces_deaths: whether the gateway is notified of a worker's death at once. If not, it
            finds out by itself, as when a whole machine fails.
        environment: variables for the children, in addition to those of this process.
    """

    data: Path
    num_shards: int | None = None
    num_workers: int | None = None
    num_replicas: int | None = None
    host: str = "127.0.0.1"
    port: int = 8080
    redis_url: str | None = None
    redis_nodes: int = 0
    restart: RestartPolicy = field(default_factory=RestartPolicy)
    announces_deaths: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def asked(self) -> Asked:
        """The numbers that the options ask for."""
        return Asked(self.num_shards, self.num_workers, self.num_replicas)
