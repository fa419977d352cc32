"""Fresh copies of data in Redis, and work that callers share.

Imports `common` alone. Open `freshness` first.
"""
