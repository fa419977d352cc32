"""Coverage: what share of the documents one answer reflects, and what deadline would reach more.

`measurement` computes the first. The others make the curve of coverage over deadlines: `curve` is
the estimate, `late_replies` feeds it as an observer of ended searches, and `report` turns it into
JSON. Imports `gateway.search.ended_search` and `gateway.search.guards`. Open `measurement` first.
"""
