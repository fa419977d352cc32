"""Where work runs beside the event loop: processes for CPU, threads for blocking calls.

Imports nothing of the rest of the worker, and knows nothing of searches. Open `process_pool/` or
`thread_pool/`; what both share lies here.
"""
