"""Views: copies of data in Redis that are kept fresh, and work whose result callers share.

Imports only `common`. Open `freshness` first.
"""
