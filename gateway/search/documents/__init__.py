"""The documents of an answer: attached to shards' replies, or fetched after the merge.

`attaching` decides whether workers attach them, `fetch` reads those that are missing, and
`answer_memory` limits the memory that they take. Imports `gateway.search.gather`, `hedger`,
`result` and `scatter`. Open `fetch` first.
"""
