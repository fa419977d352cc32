"""The attack ring: hostile and unlucky input against a real cluster, beside a normal client.

Read `attacks/__init__.py` first for what there is to throw, `ring.py` for how an attack runs, and
`verdict.py` for what must hold. `pytest tests/hostile` runs everything once, in some minutes;
`python -m tests.hostile` (`make attack`) at full strength, for as long as it is given.

All load goes to the loopback interface. Each attack has a limit of time and of volume and stops by
itself.
"""
