"""The experiments, each a module with an `async def run(options) -> Finding`.

Imports the rest of the lab, `bench.harness` and the product. Open `fan_out` first, a short one.
"""
