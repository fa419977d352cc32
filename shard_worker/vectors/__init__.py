"""The vectors of a text index: rows in append-only files, and graphs that find the nearest rows.

A text index stores, for each document, the row that its vector has in a file. So the commit of the
text index decides which vectors there are: a vector whose document was replaced or deleted is one
that no document refers to, and what a killed process leaves behind the last commit is, too. A graph
is derived from the first rows of a file, and can be built again from them at any time.

Imports `common` alone; numpy and faiss only in `rows` and `graph`, which are imported when there is
a vector field. Open `files` first, then `rows` and `graph`.
"""
