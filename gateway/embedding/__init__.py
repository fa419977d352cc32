"""Turns the texts of queries into vectors, by users' functions, in processes of their own.

A model may take its time, hang or crash; the gateway's loop, and the searches in it, must not.

Imports only `common`. Open `query_embedder` first.
"""
