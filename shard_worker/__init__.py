"""The shard worker: pulls requests, runs them in the right lane, stores and indexes documents."""
