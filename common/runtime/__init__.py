"""How a process lives: when its periodic work is done.

Imports nothing of the rest. Open `ticks` first.
"""
