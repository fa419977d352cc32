"""Fields: their types, which values each type holds, and how vectors are made of texts.

Imports only what is beside it in `common`. Open `field_types` first.
"""
