# The front door: every target is a script with a name. `make` alone lists them.
SHELL := /bin/bash
PYTEST := .venv/bin/python -m pytest
# Integration tests wait more than they compute, so three workers share two cores. A worker takes whole files, which
# start their API servers and models once, in the order of the folders: the longest come first.
WORKERS ?= 3
SIDE_BY_SIDE := --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder

.PHONY: help demo test test-unit test-integration test-e2e cluster cluster-down down images generate golden lock verify fmt bench

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-18s%s\n", $$1, $$2}'

demo: .venv/ready ## from nothing to a served model on a real Kubernetes (CLUSTER=current: on yours, with IMAGE_REGISTRY)
	.venv/bin/python hack/demo.py

test: verify test-unit test-integration test-e2e ## everything below, as CI does

test-unit: .venv/ready ## unit tests: seconds, nothing but Python
	$(PYTEST) tests/unit $(PYTEST_ARGS)

test-integration: .venv/ready ## integration tests: a real etcd and kube-apiserver, real servers
	@python3 hack/cluster build apiserver helm s3
	$(PYTEST) tests/integration hack/cluster/tests $(SIDE_BY_SIDE) $(PYTEST_ARGS)

test-e2e: .venv/ready ## end-to-end tests: the cluster, the images, the chart
	hack/e2e.sh $(PYTEST_ARGS)

cluster: ## start a real single-node Kubernetes on this machine, or heal it
	python3 hack/cluster up

cluster-down: ## stop the cluster and all that runs in it; what was built stays cached
	python3 hack/cluster down

down: ## end what `make demo` left running (CLUSTER=current: remove it from your cluster)
	python3 hack/down.py

images: ## build the three images and push them to IMAGE_REGISTRY (default: the cluster's)
	hack/images.sh

generate: .venv/ready ## write the CRD, its copy in the chart, docs/reference/{api,troubleshooting}.md and the tables of docs/internals/performance.md
	.venv/bin/python hack/generate.py

golden: .venv/ready ## write the golden files of the rendering tests anew, for review in the diff
	UPDATE_GOLDEN=1 $(PYTEST) tests/unit $(PYTEST_ARGS)

lock: .venv/ready ## resolve pyproject.toml into requirements/ (UPGRADE=1: to the newest versions)
	.venv/bin/python hack/lock.py $(if $(UPGRADE),--upgrade)

verify: .venv/ready ## lint, types, arrows between packages, generated files, chart and examples
	hack/verify.sh

fmt: .venv/ready ## format the code
	.venv/bin/ruff check --fix-only --quiet && .venv/bin/ruff format

bench: .venv/ready ## measure; see benchmarks/
	.venv/bin/python benchmarks/run.py

.venv/ready: requirements/dev.txt hack/venv.sh
	hack/venv.sh
