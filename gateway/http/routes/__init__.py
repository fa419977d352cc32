"""The other routes: collections, documents, status, snapshots, quarantine.

Imports `gateway.http.requests` and `gateway.http.schema`. Open `collection_routes` first.
"""
