"""When things happen in a process: its start, instants of periodic work, timers, limits of rates.

Imports nothing else of Hedgerow. Open `ticks` first.
"""
