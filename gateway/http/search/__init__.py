"""`POST /v1/search`, by the connection itself or through the application, with the same answer.

Imports `gateway.http.protocol`, `gateway.http.requests` and `gateway.http.openapi`. Open
`search_app` first.
"""
