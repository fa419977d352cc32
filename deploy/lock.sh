#!/usr/bin/env bash
# Renews the lock files from pyproject.toml. Versions that still fit are kept; `deploy/lock.sh
# --upgrade` takes the newest of everything, `deploy/lock.sh --upgrade-package NAME` of one.
#
#   requirements.lock        what Hedgerow needs to run
#   requirements-dev.lock    that, every extra, the tools of its checks and tests, and the build
#   requirements-build.lock  the build backend alone, for the image
#   requirements-docs.lock   what makes a site of docs/, at versions that fit beside those
#   requirements-audit.lock  what `make audit` and the image's bill of materials are made with,
#                            at versions that fit beside those too
#
# The locks hold for every platform and Python that pyproject.toml admits, and name no index:
# where packages come from is the business of the machine that installs them.
set -euo pipefail
cd "$(dirname "$0")/.."

uv=uv
command -v uv >/dev/null || uv=.venv/bin/uv
command -v "$uv" >/dev/null || { echo "deploy/lock.sh needs uv: pip install uv" >&2; exit 1; }

lock() {
    local output=$1
    shift
    "$uv" --no-config pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --custom-compile-command deploy/lock.sh --output-file "$output" "$@"
    echo "$output: $(grep -c '==' "$output") packages"
}

build_requirements() {
    python3 -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["build-system"]["requires"], sep="\n")'
}

lock requirements.lock pyproject.toml "$@"
build_requirements | lock requirements-build.lock - "$@"
build_requirements | lock requirements-dev.lock pyproject.toml - --all-extras --group dev \
    --constraint requirements.lock --constraint requirements-build.lock "$@"
lock requirements-docs.lock --group docs --constraint requirements-dev.lock "$@"
lock requirements-audit.lock --group audit --constraint requirements-dev.lock "$@"
