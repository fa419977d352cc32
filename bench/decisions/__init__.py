"""Comparisons on which docs/decisions rests, with the alternatives that were decided against.

Each is a module to run, named on its decision's page. They are not part of `make bench`, but run
when a decision is reviewed. Imports the other benchmarks and the product. Open `redis_ways` first.
"""
