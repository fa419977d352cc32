"""Carries requests to shards, and replies back.

Open `protocol` first, the interface that a search needs; `redis` implements it. Imports `common`.
"""
