"""What travels between gateway and worker, and in which order a worker pulls it.

Imports `common.errors` alone. Open `messages` first.
"""
