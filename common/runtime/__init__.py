"""When things happen in a process: instants of periodic work, timers of many, limits of rates.

Imports nothing else of Hedgerow. Open `ticks` first.
"""
