"""Hybrid searches: a search by text and one by vector, with outcomes of their own, and one answer.

Imports the searcher, which runs each leg as an ordinary search, and `embedding`. Open
`hybrid_searcher` first.
"""
