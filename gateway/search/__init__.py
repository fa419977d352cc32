"""A query's walk: validate, plan, scatter, gather, merge, fetch, answer.

Imports `gateway.policies`, `gateway.transport`, `gateway.access`, `gateway.shapes`,
`gateway.views` and `common`; neither HTTP nor Redis. Open `searcher` first: its main path names the
other modules in the order in which a query meets them; `observers` says what happens once its
shards have ended.
"""
