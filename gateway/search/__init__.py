"""A query's walk: validate, plan, scatter, gather, merge, fetch, answer.

Imports `gateway.policies`, `gateway.transport`, `gateway.access`, `gateway.shapes`,
`gateway.views` and `common`; neither HTTP nor Redis. Open `searcher` first: its main path names the
other modules in the order in which a query meets them, above all `search_checker`, `plan`,
`scatter_gather`, `merge`, `hit_documents` and `answer`; `observers` says what happens once its
shards have ended.

Four folders hold what a query meets on the way: `guards/` (breakers, canary, heavy queries),
`skipping/` (shards without a match), `documents/` (the documents of its hits) and `coverage/` (what
share of the collection it reflects).
"""
