"""The HTTP interface; docs/http.md describes it for users.

`server/` has the sockets, `protocol/` HTTP/1.1, `search/` and `routes/` the requests. Imports
`gateway.gateway` only through the interface in `ports`. Open `app` first.
"""
