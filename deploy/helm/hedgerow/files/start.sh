#!/bin/sh
# Starts the server with the password from the environment. The password is hashed and passed on
# standard input, so that it appears in no command line or file, and may contain any characters.
set -eu
: "${HEDGEROW_REDIS_PASSWORD:?must be set}"
hash=$(printf %s "$HEDGEROW_REDIS_PASSWORD" | sha256sum | cut -d ' ' -f 1)
unset HEDGEROW_REDIS_PASSWORD

# Limits the loss at a power failure, as `appendfsync everysec` would; see redis.conf.
while sleep 1; do sync /data/appendonlydir/* 2>/dev/null || true; done &

# A write that exceeds maxmemory gets an error, instead of the container's memory limit killing the
# server.
exec valkey-server /etc/hedgerow/redis.conf - <<CONF
user default on #$hash ~* &* +@all
maxmemory ${HEDGEROW_REDIS_MAXMEMORY:-0}
CONF
