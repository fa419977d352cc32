"""The search route, answered by the connection itself or through ASGI, with the same answer.

Imports `gateway.http.protocol`, `gateway.http.requests` and `gateway.http.openapi`. Open
`search_app` first.
"""
