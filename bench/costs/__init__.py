"""The parts of `make bench`: what a query costs, and what each protection costs and brings.

Each part is a module with a `measure(options)` that returns sections of docs/benchmarks.md. Imports
`bench.harness` and the product. Open `throughput` first.
"""
