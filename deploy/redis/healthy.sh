#!/bin/sh
# Exit 0 when the server answers and has read its append-only file.
set -eu
export REDISCLI_AUTH="$HEDGEROW_REDIS_PASSWORD"
[ "$(valkey-cli -t 2 ping)" = PONG ]
