"""When things happen in a process: common instants of periodic work, and limits of rates.

Imports nothing else of Hedgerow. Open `ticks` first.
"""
