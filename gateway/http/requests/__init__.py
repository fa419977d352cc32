"""Common to all routes: identifies the caller, checks rights and limits, and reads the body.

Imports `gateway.http.protocol`, `gateway.http.problems` and `gateway.access`. Open `guard` first.
"""
