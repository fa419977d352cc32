"""Where work runs beside the loop: scorer processes for CPU, threads for blocking calls."""
