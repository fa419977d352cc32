"""Starts child processes, watches and restarts them, and ends them in order, all of them.

Imports `common` alone. Open `supervisor` first, then `child`.
"""
