"""Makes the vectors of documents from their texts, by users' functions, in the indexer process.

Imports only `common`. Open `embedder` first.
"""
