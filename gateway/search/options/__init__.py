"""What a search asks for beyond its hits: facets, an order by fields, pages, groups.

Pure: checks what a caller asks for, says what the shards are asked for, and puts together what they
return. Imports the shapes and `common`. Open `wanted` first.
"""
