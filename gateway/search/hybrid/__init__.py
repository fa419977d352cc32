"""Hybrid searches: a search by text and one by vector, each with its own outcome, become one answer.

Imports the searcher, which runs each leg as an ordinary search, and `embedding`. Open
`hybrid_searcher` first.
"""
