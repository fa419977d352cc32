"""Who serves which shard, and which workers are kept from live requests.

Imports `gateway.search`, `gateway.policies`, `gateway.views` and `gateway.transport`. Open
`membership` first.
"""
