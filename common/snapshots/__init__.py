"""Snapshots of shards: what they contain, where they are stored, and how one is restored.

Imports `common.redis`, `common.machine` and `common.settings`. Open `manifest` first.
"""
