# make demo   the whole road on documents this machine has, from nothing
# make test   everything CI runs: style, types, tests
# make check  style, types and the fast tests, under two minutes
# make faults the fault tests with many rounds: twenty minutes, needs root for small disks and Debian's Ceph for S3
# make bench  longer measurements; results are committed under docs/
VENV ?= .venv
MOTO ?= .venv-moto
BIN := $(VENV)/bin
FAST := tests/base tests/sources tests/extract tests/features tests/rules tests/dedup tests/evaluation

.PHONY: install demo test check lint faults bench clean

install:
	@deployments/install.sh $(VENV)

demo: install
	@$(BIN)/ingot demo

test: install $(MOTO)/bin/moto_server lint
	$(BIN)/python -m pytest -n 3

check: install lint
	$(BIN)/python -m pytest $(FAST)

lint: install
	$(BIN)/ruff check .
	$(BIN)/mypy

faults: install $(MOTO)/bin/moto_server
	$(BIN)/python -m pytest -m faults --long

bench: install
	$(BIN)/python benchmarks/features.py
	$(BIN)/python benchmarks/minhash.py
	$(BIN)/python benchmarks/documents_to_decisions.py

# A fake S3 in an environment of its own: resolved together with s3fs, pip backtracks for minutes.
$(MOTO)/bin/moto_server:
	@python3 -m venv $(MOTO)
	@$(MOTO)/bin/python -m pip install --quiet --disable-pip-version-check $(if $(INGOT_WHEELHOUSE),--no-index --find-links $(INGOT_WHEELHOUSE)) 'moto[server]==5.2.5' 2>/dev/null

clean:
	rm -rf $(VENV) $(MOTO) build dist *.egg-info
