"""The experiments, each a module with an `async def run(options) -> Finding`."""
