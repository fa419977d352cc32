"""What the applier remembers of a shard while it follows the shard's log."""

from dataclasses import dataclass, field

from hedgerow.common.shard_log.entries import START
from hedgerow.common.shard_log.judgement import Judgement
from hedgerow.shard_worker.indexing.log_retention import LogRetention
from hedgerow.shard_worker.indexing.shard_report import ShardState


@dataclass(slots=True)
class FollowedShard:
    """What is known of one shard, beside what it holds.

    Attributes:
        kept: its applied entries that stay in the log for the next snapshot.
        trimmed: up to where its log was trimmed when the shard was opened.
        announced: what was last recorded in Redis that the shard holds.
        trimmed_by: the newest snapshot, and `num_forgotten`, when its log was last trimmed.
        num_forgotten: how many of its replicas were forgotten.
        furthest: the furthest position of any replica, when last read.
        num_checks: how often that was read to compare.
        judged: judgements that are still to be reported to the gateways.
        filled: collection → documents of the index that will have its new fields, about.
    """

    kept: LogRetention = field(default_factory=LogRetention)
    trimmed: str = START
    announced: ShardState | None = None
    trimmed_by: tuple[str | None, int] | None = None
    num_forgotten: int = 0
    furthest: str = START
    num_checks: int = 0
    judged: list[Judgement] = field(default_factory=list)
    filled: dict[str, int] = field(default_factory=dict)
