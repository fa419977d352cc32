"""The common instants of a process's periodic work.

Imports nothing else of Hedgerow. Open `ticks` first.
"""
