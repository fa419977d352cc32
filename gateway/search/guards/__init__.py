"""What keeps one query from harming shards or other queries: breakers, canary, heavy queries.

Imports `gateway.policies`, `gateway.transport` and, for the canary, `gateway.search.gather`. Open
`profile_guards` first, then `breakers`.
"""
