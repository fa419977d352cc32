"""Copies of what lies in Redis, kept fresh, and work that callers share.

Imports `common` alone. Open `freshness` first.
"""
