"""The messages between processes, the context of a trace, and the order in which a worker pulls.

Imports only `common.errors`. Open `messages` first.
"""
