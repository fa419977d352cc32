"""What every route does with a request: who asks, what they may do, and how its body is read.

Imports `gateway.http.protocol`, `gateway.http.problems` and `gateway.access`. Open `guard` first.
"""
