"""Pure decisions: admission, breakers, hedging, adaptive timeout, outlier detection.

No policy reads a clock: `now` is always an argument, in s, of a clock that never goes back (the
event loop's in a gateway, a virtual one in tests and in the simulator). All instants are of this
clock. Imports `gateway.access` and `common`. Open `breaker` first.
"""
