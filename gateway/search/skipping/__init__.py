"""Which shards need not be asked, since none of their documents can match.

`excluded` finds them by the shards' summaries, without waiting; `skipper` then makes sure that the
summaries are still valid, and `collection_summaries` keeps them. Imports `common.query` and
`gateway.search.validation`. Open `skipper` first; `common.state.summaries` says why it is safe.
"""
