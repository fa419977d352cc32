"""The lab: experiments with each pattern that Hedgerow is built on, and each mistake it avoids.

May import everything, and nothing imports it. Open `__main__` first, then a module of
`experiments/`; `report` writes docs/lab.md.
"""
