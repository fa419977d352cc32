"""The HTTP interface; docs/http.md describes it for its users.

`server/` has the sockets, `protocol/` HTTP/1.1, `search/` and `routes/` what is asked, `schema/`
its shapes. Imports `gateway.gateway` by the interface in `ports` alone. Open `app` first.
"""
