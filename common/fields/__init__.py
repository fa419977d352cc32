"""Fields: their types, which values each type holds, and names that resemble one another.

Imports nothing. Open `field_types` first.
"""
