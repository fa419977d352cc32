"""Worked examples of users' functions: second-phase scores and enrich hooks."""
