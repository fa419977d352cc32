#!/usr/bin/env bash
# Updates the lock files from pyproject.toml. Versions that still fit are kept. `deploy/lock.sh
# --upgrade` upgrades all packages, `deploy/lock.sh --upgrade-package NAME` upgrades one.
#
#   requirements.lock        what Hedgerow needs to run, and the extras otel, s3 and vectors, which
#                            the image has
#   requirements-dev.lock    the same, all extras, the tools for checks and tests, and the build
#   requirements-build.lock  the build backend alone, for the image
#   requirements-ray.lock    Ray and what it needs, compatible with the above; for the image of its
#                            nodes (deploy/ray)
#   requirements-docs.lock   tools for building the site of docs/, compatible with the above
#   requirements-helm.lock   the package that brings Helm's program, for the tests of the chart
#   requirements-audit.lock  tools for `make audit` and the image's bill of materials, compatible
#                            with the above
#
# The locks are valid for every platform and Python that pyproject.toml supports. They name no index:
# each machine installs packages from the index that it is configured for.
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

ray_requirements() {
    python3 -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["ray"], sep="\n")'
}

lock requirements.lock pyproject.toml --extra otel --extra s3 --extra vectors "$@"
build_requirements | lock requirements-build.lock - "$@"
build_requirements | lock requirements-dev.lock pyproject.toml - --all-extras --group dev \
    --constraint requirements.lock --constraint requirements-build.lock "$@"
ray_requirements | lock requirements-ray.lock - --constraint requirements-dev.lock "$@"
lock requirements-docs.lock --group docs --constraint requirements-dev.lock "$@"
lock requirements-helm.lock --group helm --no-deps "$@"
lock requirements-audit.lock --group audit --constraint requirements-dev.lock "$@"
