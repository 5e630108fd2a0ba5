# Verbs. Python 3.11 or newer, pip and make are all that must be there before.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: setup browser demo run test style bench peers train

setup: .venv/ready

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'
	touch $@

# Tests of the pages drive a real browser. A browser that is there is used; else Debian's, else Playwright's own.
browser: setup
	$(BIN)/python -m tests.web.browser

demo: setup
	$(BIN)/python -m benchmarks.demo $(if $(CALL),--call $(CALL)) $(if $(ONCE),--once)

run: setup
	$(BIN)/python server.py

test: setup browser style
	$(BIN)/python -m pytest

style: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m assist.knowledge check knowledge_base

bench: setup
	$(BIN)/python -m benchmarks.hotpath
	$(BIN)/python -m benchmarks.latency --recogniser whisper --weights weights/random-tiny
	$(BIN)/python -m benchmarks.capacity --weights weights/random-tiny

# Beside other servers, which it installs under .peers/ (some minutes, once; 25 minutes of a quiet machine).
peers: setup
	$(BIN)/python -m benchmarks.peers
	$(BIN)/python -m benchmarks.chart

# Every shipped weight anew, from ../shared/data or DATA=folder; then `python -m benchmarks.accuracy --all` measures.
# Two cores are enough; PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu in the environment saves the gigabytes
# of a GPU's libraries that PyPI's torch brings.
train: .train/ready
	.train/bin/python -m models.train all $(if $(DATA),--data $(DATA))

.train/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .train
	.train/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[train]'
	touch $@
