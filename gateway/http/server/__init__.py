"""The server: sockets, TLS, and how many connections each address may have.

Imports `gateway.http.protocol` and `gateway.http.search`. Open `server` first, then `connection`.
"""
