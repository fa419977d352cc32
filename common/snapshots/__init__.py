"""Snapshots of shards: what they hold, where they are kept, and how one is restored.

Imports `common.redis`, `common.machine` and `common.settings`. Open `manifest` first.
"""
