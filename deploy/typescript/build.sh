#!/usr/bin/env bash
# Generates the TypeScript client from the OpenAPI document: an npm package in build/typescript, ready for
# `npm pack`. Needs Node 20 or newer and npm; what it installs has the versions and hashes of
# package-lock.json. `make typescript` runs it.
set -euo pipefail
cd "$(dirname "$0")/../.."

sources=deploy/typescript
target=build/typescript
python=${PYTHON:-.venv/bin/python}
for program in node npm; do
    command -v "$program" >/dev/null || { echo "the TypeScript client needs Node 20 or newer, and npm" >&2; exit 1; }
done

if ! cmp -s "$sources/package-lock.json" "$target/.installed"; then
    rm -rf "$target"
    mkdir -p "$target"
    cp "$sources/package.json" "$sources/package-lock.json" "$target"
    (cd "$target" && npm ci --ignore-scripts --no-audit --no-fund --silent)
    cp "$sources/package-lock.json" "$target/.installed"
fi

mkdir -p "$target/test"
cp "$sources/package.json" "$sources/tsconfig.json" "$sources/README.md" LICENSE "$sources/src/index.ts" "$target"
cp "$sources"/test/*.ts "$target/test"
"$python" -m tests.support.openapi >"$target/openapi.json"
cd "$target"
# Members of a body that have a default may be left out.
node_modules/.bin/openapi-typescript openapi.json --output schema.d.ts --default-non-nullable false >/dev/null
node_modules/.bin/tsc
