#!/bin/sh
# Exits with 0 if the server answers and has loaded its append-only file.
set -eu
export REDISCLI_AUTH="$HEDGEROW_REDIS_PASSWORD"
[ "$(valkey-cli -t 2 ping)" = PONG ]
