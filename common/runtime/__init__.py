"""The common instants of a process's periodic work, and timers for a process that has many.

Imports nothing else of Hedgerow. Open `ticks` first.
"""
