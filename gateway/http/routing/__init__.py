"""Which handler answers a request, and what it is called with.

A handler is a coroutine function. Its parameters are those of the route's path, those of the query,
by name and type, and `request` if it takes the request itself. Imports `gateway.http.requests`,
and for faults `gateway.shapes`. Open `application` first.
"""
