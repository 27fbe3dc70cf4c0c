# Every target runs one script. `make` without a target lists them.
SHELL := /bin/bash
PYTEST := .venv/bin/coverage run -m pytest
# Integration tests mostly wait, so three workers share two cores. A worker runs whole files, which start their API
# servers and models once, in the order of the folders: the longest ones first.
WORKERS ?= 3
SIDE_BY_SIDE := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-unit test-integration coverage test-e2e cluster cluster-down down images generate golden lock verify fmt bench findings

help: ## list all targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s%s\n", $$1, $$2}'

demo: .venv/ready ## serve a model on a new single-node Kubernetes (CLUSTER=current: on your cluster, with IMAGE_REGISTRY)
	.venv/bin/python hack/demo.py

test: verify test-unit test-integration coverage test-e2e ## run all checks and tests, as in CI

test-unit: .venv/ready ## run the unit tests, which take seconds and need only Python
	$(PYTEST) tests/unit --numprocesses 2 --dist worksteal $(PYTEST_ARGS)

test-integration: .venv/ready ## run the integration tests with a real etcd, kube-apiserver and servers
	@python3 hack/cluster build apiserver helm s3
	$(PYTEST) tests/integration hack/cluster/tests $(SIDE_BY_SIDE) $(PYTEST_ARGS)

coverage: ## print the coverage of the last unit and integration tests
	hack/coverage.sh

test-e2e: .venv/ready ## run the end-to-end tests on the cluster, with the images and the chart
	hack/e2e.sh $(PYTEST_ARGS)

cluster: ## start a single-node Kubernetes on this machine, or repair it
	python3 hack/cluster up

cluster-down: ## stop the cluster and keep the caches
	python3 hack/cluster down

down: ## stop what `make demo` started (CLUSTER=current: remove it from your cluster)
	python3 hack/down.py

images: ## build the three images and push them to IMAGE_REGISTRY (default: that of the cluster)
	hack/images.sh

generate: .venv/ready ## generate the CRD, the reference pages, and tables in the documentation
	.venv/bin/python hack/generate.py

golden: .venv/ready ## update the golden files of the rendering tests, for review in the diff
	UPDATE_GOLDEN=1 .venv/bin/python -m pytest tests/unit $(PYTEST_ARGS)

lock: .venv/ready ## lock the dependencies of pyproject.toml in requirements/ (UPGRADE=1: with the newest versions)
	PATH="$$(dirname "$$(hack/uv.sh)"):$$PATH" .venv/bin/python hack/lock.py $(if $(UPGRADE),--upgrade)

verify: .venv/ready ## check lint, types, package dependencies, generated files, chart and examples
	hack/verify.sh

fmt: .venv/ready ## format the code
	.venv/bin/ruff check --fix-only --quiet && .venv/bin/ruff format

bench: .venv/ready ## run the benchmark of AREA (path or control-plane)
	.venv/bin/python benchmarks/run.py

findings: ## check that other software still behaves as findings/ describes (ONLY="NAME..." runs some of it)
	@hack/findings.sh $(ONLY)

.venv/ready: requirements/dev.txt hack/venv.sh
	hack/venv.sh
