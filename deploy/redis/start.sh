#!/bin/sh
# Starts the server with the password from the environment. It is hashed and goes in by standard
# input, so that it appears on no command line and in no file, and may hold any characters.
set -eu
: "${HEDGEROW_REDIS_PASSWORD:?must be set}"
hash=$(printf %s "$HEDGEROW_REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
unset HEDGEROW_REDIS_PASSWORD

# Bounds what a loss of power takes, as `appendfsync everysec` would; see redis.conf.
while sleep 1; do sync /data/appendonlydir/* 2>/dev/null || true; done &

# What does not fit is refused as an error that the writer sees, before the container's own limit
# would end the server.
exec valkey-server /etc/hedgerow/redis.conf - <<CONF
user default on #$hash ~* &* +@all
maxmemory ${HEDGEROW_REDIS_MAXMEMORY:-0}
CONF
