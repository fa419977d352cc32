"""The messages between gateway and worker, and the order in which a worker pulls them.

Imports only `common.errors`. Open `messages` first.
"""
