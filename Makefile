# make demo   the whole path on the embedded sample, into out/demo
# make test   the whole test suite; make test-slow what takes minutes
# make check  format, lint, types, tests: what .ci/run runs
# make bench  the benchmarks, on generated text
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := out/demo

.PHONY: demo test test-slow check wheel-test format bench clean

# what the demo needs is a small part of what the tests need (stores, cloud clients, referees)
$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --editable '.[model]'
	touch $@

$(VENV)/.developing: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@

demo: $(VENV)/.installed
	$(BIN)/roots run sample.toml --output $(DEMO)
	$(BIN)/roots verify $(DEMO)
	$(BIN)/roots model train --shards $(DEMO)/shards --tokenizer $(DEMO)/tokenizer --output $(DEMO)/model \
		--size micro --steps 300 --threads 2
	$(BIN)/roots model evaluate $(DEMO)/model --tokenizer $(DEMO)/tokenizer --shards $(DEMO)/shards
	$(BIN)/roots model generate $(DEMO)/model --tokenizer $(DEMO)/tokenizer --prompt "The " --tokens 40 \
		--temperature 0.8 --top-k 40
	@echo
	@echo "Look at:"
	@echo "  $(DEMO)/cards/README.md        the corpus card, and a data card for each source"
	@echo "  $(DEMO)/corpus                 the corpus, Parquet by language and source"
	@echo "  $(DEMO)/tokenizer-report       the tokenizer by language: report.html, and its card"
	@echo "  $(DEMO)/model                  the log with the loss, the checkpoints"
	@echo "  $(BIN)/roots inspect $(DEMO)   what was removed, and why"

test: $(VENV)/.developing
	$(BIN)/python -m pytest

test-slow: $(VENV)/.developing
	$(BIN)/python -m pytest -m slow

check: $(VENV)/.developing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(MAKE) test

wheel-test: $(VENV)/.developing
	rm -rf build dist out/wheel
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(PYTHON) -m venv out/wheel
	out/wheel/bin/python -m pip install --quiet dist/*.whl pytest hypothesis
	cd out/wheel && bin/python -m pytest -q --import-mode=importlib -p no:cacheprovider ../../tests/test_layout.py
	cd out/wheel && bin/roots run sample.toml --set 'sources.extra=[]' --until ingest --output sample

format: $(VENV)/.developing
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.developing
	$(BIN)/python -m benchmarks.corpus_path
	$(BIN)/python -m benchmarks.minhash

clean:
	rm -rf $(VENV) out build dist *.egg-info
