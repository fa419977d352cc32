"""Worked examples of what users bring: second-phase scores and enrich hooks."""
