"""The gateway's metrics for Prometheus: what is counted of searches, and what a scrape collects.

Imports the rooms of the query and of the document, and `gateway.operations`. Open `catalogue`
first, then `search_recorder` (on a query's way) and `collector` (at a scrape).
"""
