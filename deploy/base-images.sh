#!/usr/bin/env bash
# Builds replacements for the base images of Dockerfile, compose.yaml and tests/containers from
# Debian's packages, for a machine that can reach a Debian mirror but no container registry. With a
# registry this is not needed: `docker pull` gets the real images.
#
# A replacement has what Hedgerow needs of the original: the same name, programs at the same paths,
# the same user ids, the same entry point. It trusts the same certificate authorities and uses the
# same package index as this machine, so that builds from it work in the same network.
#
# Needs root, debootstrap and a running engine. If all images exist, nothing is done; --force rebuilds
# them, --list prints their names. Environment: DEBIAN_MIRROR.
set -euo pipefail

PYTHON_IMAGE=python:3.13-slim
VALKEY_IMAGE=valkey/valkey:8.1
REDIS_IMAGE=redis:8.0     # only for tests/containers
SUITE=trixie
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}

IMAGES=("$PYTHON_IMAGE" "$VALKEY_IMAGE" "$REDIS_IMAGE")

if [[ ${1:-} == --list ]]; then
    printf '%s\n' "${IMAGES[@]}"
    exit 0
fi

has() { docker image inspect "$@" >/dev/null 2>&1; }

if [[ ${1:-} != --force ]] && has "${IMAGES[@]}"; then
    echo "base images exist: ${IMAGES[*]}"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

setting() { python3 -m pip config get "global.$1" 2>/dev/null || true; }

pip_configuration() {
    printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\nbreak-system-packages = true\n'
    local name value
    for name in index-url extra-index-url trusted-host; do
        value=$(setting "$name")
        if [[ -n $value ]]; then printf '%s = %s\n' "$name" "$value"; fi
    done
}

echo "debootstrap $SUITE from $MIRROR"
mkdir "$work/context"
debootstrap --variant=minbase --include=ca-certificates "$SUITE" "$work/root" "$MIRROR" \
    >"$work/debootstrap.log" 2>&1 || { tail -30 "$work/debootstrap.log" >&2; exit 1; }
cp --dereference /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"
rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/var/log/*
rm -rf "$work"/root/usr/share/{doc,man,locale,info}/*
tar -C "$work/root" --numeric-owner -c . | docker import - hedgerow-debian:$SUITE >/dev/null

pip_configuration >"$work/context/pip.conf"

echo "build $PYTHON_IMAGE"
docker build --quiet --tag "$PYTHON_IMAGE" --file - "$work/context" <<DOCKERFILE
FROM hedgerow-debian:$SUITE
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 python3-pip python3-venv \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* \
 && ln -s /usr/bin/python3 /usr/local/bin/python3 && ln -s python3 /usr/local/bin/python \
 && ln -s /usr/bin/pip3 /usr/local/bin/pip
COPY pip.conf /etc/pip.conf
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt LANG=C.UTF-8
CMD ["python3"]
DOCKERFILE

server_image() {
    local image=$1 name=$2
    echo "build $image"
    # Like the entry point of the official images: a server that is started as root drops privileges.
    cat >"$work/context/docker-entrypoint.sh" <<SCRIPT
#!/bin/sh
set -e
if [ "\${1#-}" != "\$1" ] || [ "\${1%.conf}" != "\$1" ]; then set -- $name-server "\$@"; fi
if [ "\$1" = $name-server ] && [ "\$(id -u)" = 0 ]; then
    find . \! -user $name -exec chown $name '{}' +
    exec setpriv --reuid=$name --regid=$name --clear-groups -- "\$0" "\$@"
fi
exec "\$@"
SCRIPT
    chmod 755 "$work/context/docker-entrypoint.sh"
    docker build --quiet --tag "$image" --file - "$work/context" <<DOCKERFILE
FROM hedgerow-debian:$SUITE
RUN groupadd --system --gid 999 $name \
 && useradd --system --gid $name --uid 999 --home-dir /data $name \
 && apt-get update \
 && apt-get install --yes --no-install-recommends $name-server \
 && apt-get clean && rm -rf /var/lib/apt/lists/* /usr/share/doc/* /usr/share/man/* \
    /etc/$name /var/lib/$name \
 && install --directory --owner=$name --group=$name /data
COPY docker-entrypoint.sh /usr/local/bin/
VOLUME /data
WORKDIR /data
EXPOSE 6379
ENTRYPOINT ["docker-entrypoint.sh"]
CMD ["$name-server"]
DOCKERFILE
}

server_image "$VALKEY_IMAGE" valkey
server_image "$REDIS_IMAGE" redis
