"""The gateway: admits, plans, scatters, gathers, merges, fetches and responds."""
