#!/usr/bin/env bash
# Updates package-lock.json from package.json: versions and hashes, and no host, so that each machine
# installs from the registry that it is configured for.
set -euo pipefail
cd "$(dirname "$0")"
npm install --package-lock-only --ignore-scripts --no-audit --no-fund --omit-lockfile-registry-resolved
node --input-type=module --eval '
import { readFileSync, writeFileSync } from "node:fs";
const lock = JSON.parse(readFileSync("package-lock.json", "utf8"));
for (const one of Object.values(lock.packages)) delete one.funding;
writeFileSync("package-lock.json", `${JSON.stringify(lock, null, 2)}\n`);'
