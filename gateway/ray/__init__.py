"""`gateway up --ray`: a cluster whose gateways and workers are actors on the nodes of Ray.

An actor runs the ordinary processes (`shard-worker --join`, `gateway serve`) as its children, and
Ray restarts the actor. Queries and documents go through Redis, as always, and never through Ray.

Imports `common`, `gateway.access`, `gateway.local` and, in `engine` alone, Ray, which is an extra.
Open `cluster` first, then `node_processes`, which is what an actor is.
"""
