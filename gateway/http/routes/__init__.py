"""The other routes: collections, documents, status, snapshots, quarantine.

Imports `gateway.http.requests` and `gateway.http.openapi`. Open `collection_routes` first.
"""
