"""Which workers serve which shard, and which of them get no live requests.

Imports `gateway.search`, `gateway.policies`, `gateway.views` and `gateway.transport`. Open
`membership` first.
"""
