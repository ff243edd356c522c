# The front door. `make help` lists the verbs; everything they need they get by themselves.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.9
CACHE := $(or $(BULKHEAD_CACHE),$(HOME)/.cache/bulkhead)
UV := $(CACHE)/uv-$(UV_VERSION)/bin/uv
OPERATOR := .venv/.synced
RUNTIME := .venv-runtime/.synced
CLUSTER_TOOL := .venv/bin/python -m tests.cluster
# Most tests wait for a process of their own, so several files run at once, also on two cores.
PARALLEL := -n 3 --dist loadfile
OPERATOR_CODE := crds operator charts contrib dashboards docs/generate_reference.py tests/cluster tests/support tests/unit/alerts tests/unit/api \
	tests/unit/chart tests/unit/controller tests/unit/dashboards tests/unit/docs tests/unit/gitops tests/integration tests/dashboards tests/e2e tests/performance
RUNTIME_CODE := runtime_image docs/generate_api.py tests/unit/runtime tests/contract tests/faults tests/ui \
	tests/integration/stores tests/support/runtime tests/performance/references

export ORG ONLY
export PYTHONPATH := crds:operator:runtime_image

##@ Use
up: $(OPERATOR) ## Bring the whole system up on a real cluster and show its main job
	@$(CLUSTER_TOOL) up

down: $(OPERATOR) ## Take the local cluster down; leaves nothing behind
	@$(CLUSTER_TOOL) down

status: $(OPERATOR) ## Show what of the local cluster runs
	@$(CLUSTER_TOOL) status

kubeconfig: $(OPERATOR) ## Print the path of the cluster's kubeconfig
	@$(CLUSTER_TOOL) kubeconfig

url: $(OPERATOR) ## Print an organization's endpoint (ORG=acme)
	@$(CLUSTER_TOOL) url "$${ORG:?say which organization: make url ORG=acme}"

key: $(OPERATOR) ## Print an organization's API key (ORG=acme)
	@$(CLUSTER_TOOL) key "$${ORG:?say which organization: make key ORG=acme}"

##@ Work
test: check test-unit test-integration test-ui test-e2e ## Run every test; brings up itself what it needs

test-unit: $(OPERATOR) $(RUNTIME) ## Run the tests that need nothing
	$(CLUSTER_TOOL) binaries helm
	.venv/bin/pytest -q --durations=5 tests/unit/api tests/unit/controller tests/unit/chart \
		tests/unit/dashboards tests/unit/docs tests/unit/gitops tests/performance tests/cluster/test_parts.py
	.venv/bin/pytest -q --durations=5 $(PARALLEL) tests/unit/alerts
	.venv-runtime/bin/pytest -q --durations=5 $(PARALLEL) tests/unit/runtime

test-integration: $(OPERATOR) $(RUNTIME) ## Run the tests against a real API server, PostgreSQL and Redis
	$(CLUSTER_TOOL) binaries kubernetes helm kubeconform
	.venv/bin/pytest -q --durations=5 $(PARALLEL) --ignore tests/integration/stores \
		tests/integration tests/cluster/test_control_plane.py
	.venv-runtime/bin/pytest -q --durations=5 $(PARALLEL) tests/contract tests/integration/stores \
		tests/faults

dashboards-check: $(OPERATOR) ## Ask a real Prometheus every query of dashboards and alerts
	$(CLUSTER_TOOL) up
	.venv/bin/pytest -q -s tests/dashboards

test-ui: $(RUNTIME) ## Run the tests of the tenant's page in a real Chromium
	.venv-runtime/bin/pytest -q --durations=5 $(PARALLEL) tests/ui

screenshots: $(RUNTIME) ## Take the pictures of the tenant's page anew, for docs/images
	.venv-runtime/bin/python -m tests.ui.screenshots

test-e2e: $(OPERATOR) ## Run the tests on the whole local cluster
	$(CLUSTER_TOOL) up
	.venv/bin/pytest -q --durations=5 -n 2 --dist loadfile --ignore tests/e2e/outages \
		tests/cluster/test_on_cluster.py tests/e2e
	.venv/bin/pytest -q --durations=5 tests/e2e/outages tests/dashboards

faults: $(OPERATOR) $(RUNTIME) ## Visit every enumerated fault point; `make test` visits one of each class
	.venv-runtime/bin/pytest -q -s --every-fault tests/faults
	BULKHEAD_EVERY_FAULT=1 .venv/bin/pytest -q -n 2 tests/integration/reconcile/test_reconcile_rollout_faults.py \
		tests/integration/reconcile/test_reconcile_rollout_races.py \
		tests/integration/reconcile/test_reconcile_joint_upgrades.py \
		tests/integration/reconcile/test_reconcile_dedicated_faults.py
	$(CLUSTER_TOOL) up
	BULKHEAD_EVERY_FAULT=1 .venv/bin/pytest -q tests/e2e/outages/test_bad_packages.py
	.venv/bin/pytest -q --quiet-seconds 300 tests/e2e/test_gitops.py

bench: $(OPERATOR) $(RUNTIME) ## Measure against peers side by side (ONLY=ID runs one)
	.venv/bin/python -m tests.performance $(if $(ONLY),ONLY=$(ONLY)) $(if $(ROUNDS),ROUNDS=$(ROUNDS))

check: lint typecheck verify ## Lint, types, import contracts, generated files

lint: $(OPERATOR) ## Check style and import contracts
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/lint-imports

format: $(OPERATOR) ## Rewrite the sources in the project's style
	.venv/bin/ruff check --fix .
	.venv/bin/ruff format .

typecheck: $(OPERATOR) $(RUNTIME) ## Check types strictly, in both environments
	.venv/bin/mypy --exclude 'tests/(performance/references|support/runtime|integration/stores)/' \
		$(OPERATOR_CODE)
	.venv-runtime/bin/mypy $(RUNTIME_CODE)

generate: $(OPERATOR) $(RUNTIME) ## Write every generated file
	.venv/bin/python -m bulkhead_api.generate crds
	.venv/bin/python charts/generate.py
	.venv/bin/python -m dashboards.grafana
	.venv/bin/python -m dashboards.alerts
	.venv/bin/python contrib/argocd/generate.py
	.venv/bin/python docs/generate_reference.py
	.venv-runtime/bin/python docs/generate_api.py
	.venv-runtime/bin/python -m bulkhead_runtime.models.generate_prices

verify: $(OPERATOR) $(RUNTIME) ## Fail when a generated file is not what the sources say
	$(UV) lock --check --quiet
	@before=$$(git ls-files -co --exclude-standard -z ':!dashboards/json' | xargs -0 sha256sum 2>/dev/null | sha256sum); \
	$(MAKE) generate >/dev/null; \
	after=$$(git ls-files -co --exclude-standard -z ':!dashboards/json' | xargs -0 sha256sum 2>/dev/null | sha256sum); \
	[[ $$before == $$after ]] || { echo 'generated files are stale: commit what `make generate` wrote'; exit 1; }

clean: ## Remove environments and build results (binaries and images stay in the cache)
	rm -rf .venv .venv-runtime build .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^##@/ {printf "\n%s\n", substr($$0, 5)} \
	/^[a-z0-9-]+:.*## / {printf "  make %-18s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(UV):
	@python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo 'Python 3.11 or later is needed: install it, then run the same command again'; exit 1; }
	@python3 -c 'import ensurepip' 2>/dev/null \
		|| { apt-get update -qq && apt-get install -y -qq --no-install-recommends python3-venv; }
	python3 -m venv $(CACHE)/uv-$(UV_VERSION)
	$(CACHE)/uv-$(UV_VERSION)/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)

$(OPERATOR): pyproject.toml uv.lock | $(UV)
	UV_PROJECT_ENVIRONMENT=.venv $(UV) sync --quiet --frozen --no-managed-python \
		--extra operator --group dev --group cluster
	@touch $@

$(RUNTIME): pyproject.toml uv.lock | $(UV)
	UV_PROJECT_ENVIRONMENT=.venv-runtime $(UV) sync --quiet --frozen --no-managed-python \
		--extra runtime --group dev
	@touch $@

.PHONY: up down status kubeconfig url key test test-unit test-integration test-ui screenshots dashboards-check \
	test-e2e faults bench check lint format typecheck generate verify clean help
