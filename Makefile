# make demo   the whole road on documents this machine has, from nothing
# make test   everything CI runs: style, types, tests
# make check  style, types and the fast tests, under two minutes
# make faults the fault tests with many rounds: twenty minutes, needs root for small disks and Debian's Ceph for S3
# make recipes  what two cores can train, trained again and held against its evidence: half an hour
# make bench  curation and training measured, hours; results are in docs/benchmarks.md (PEER=, PRESIDIO=: Pythons with the peers; HELP_PAGES=: translated pages)
VENV ?= .venv
MOTO ?= .venv-moto
BIN := $(VENV)/bin
FAST := tests/base tests/sources tests/extract tests/features tests/rules tests/pii tests/dedup tests/evaluation

.PHONY: install demo test check lint faults recipes bench bench-gpu clean

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

recipes: install
	$(BIN)/python benchmarks/recipes.py

# PEER is a Python with the peers that each script names in its docstring; without it only Ingot is measured.
BENCH_PEER := $(if $(PEER),--peer-python $(PEER))
bench: install
	$(BIN)/python benchmarks/features.py
	$(BIN)/python benchmarks/minhash.py $(BENCH_PEER)
	$(BIN)/python benchmarks/documents_to_decisions.py $(BENCH_PEER)
	$(BIN)/python benchmarks/rule_parity.py
	$(BIN)/python benchmarks/rules_by_language.py $(if $(HELP_PAGES),--help-pages $(HELP_PAGES))
	$(BIN)/python benchmarks/near_duplicates.py --raw $(if $(PEER),--peer $(PEER))
	$(BIN)/python benchmarks/decontamination.py $(BENCH_PEER)
	$(BIN)/python benchmarks/pii.py $(if $(PRESIDIO),--presidio $(PRESIDIO))
	$(BIN)/python benchmarks/nights.py
	$(BIN)/python benchmarks/degenerate.py
	$(BIN)/python benchmarks/scale.py --megabytes 400 --workers 1 --speed
	$(BIN)/python benchmarks/scale.py --megabytes 400 --workers 2 --speed
	$(BIN)/python benchmarks/scale.py --megabytes 20000
	$(BIN)/python benchmarks/answers.py
	$(BIN)/python benchmarks/what_if.py
	$(BIN)/python benchmarks/plan.py
	$(BIN)/python -m benchmarks.training_loop

# On a GPU: fails where training is more than 10 % below benchmarks/baselines/<GPU>.json; WRITE=1 keeps a new one.
bench-gpu: install
	$(BIN)/python -m benchmarks.training_gpu $(if $(WRITE),--write,--check)

# A fake S3 in an environment of its own: resolved together with s3fs, pip backtracks for minutes.
$(MOTO)/bin/moto_server:
	@python3 -m venv $(MOTO)
	@$(MOTO)/bin/python -m pip install --quiet --disable-pip-version-check $(if $(INGOT_WHEELHOUSE),--no-index --find-links $(INGOT_WHEELHOUSE)) 'moto[server]==5.2.5' 2>/dev/null

clean:
	rm -rf $(VENV) $(MOTO) build dist *.egg-info
