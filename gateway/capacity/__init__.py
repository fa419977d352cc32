"""`gateway plan`: how many processes a load needs, from the costs that the documentation reports.

Imports `common.errors` alone. Open `plan` first, the pure function; `figures` has the measured
figures, each with its page, and `costs` the formulas over them.
"""
