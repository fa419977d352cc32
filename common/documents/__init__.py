"""Documents: which of them fit a collection, and the form in which they are stored.

Imports `common.collection` and what is beside it. Open `document_check`, which is the only module.
"""
