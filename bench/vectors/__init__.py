"""Measures searches by vectors. Open `__main__` first."""
