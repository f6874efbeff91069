# Two commands for everyone: `make demo` and `make test`. Each sets up .venv from constraints.txt by itself.
BENCH_ARGS ?= llama-3.1-8b
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# other notebook kernels that are in use, beside the one in constraints.txt
IPYKERNELS := 6.31.0 7.1.0 7.3.0
KERNEL_FOLDERS := $(IPYKERNELS:%=.cache/ipykernel/%)
# the oldest pandas that is supported, beside the one in constraints.txt
PANDAS_22 := .cache/pandas/2.2.3
# what transformers confirms of results, made on a GPU too
GPU_RESULTS := $(addprefix tests/test_,beam_search.py embeddings.py prompt_logprobs.py token_rules.py user_processors.py)
# other libraries' environments, for what they do with the server
LOTUS := .cache/clients/lotus/.ready
READY := $(VENV)/.ready

.PHONY: help demo test test-ipykernels test-pandas22 test-clients test-gpu test-browser lint lab docs screenshots bench clean

help:  ## Show this list.
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*##/\t/' | expand -t 16

demo: $(READY)  ## Label 500 support tickets on the embedded model, in a notebook run headless.
	$(BIN)/python notebooks/execute.py notebooks/01_quickstart.ipynb --output .cache/demo

test: $(READY)  ## Run the whole test suite on the CPU (kernels through Triton's interpreter).
	$(BIN)/python -m pytest

test-ipykernels: $(READY) $(KERNEL_FOLDERS)  ## Run the tests in real notebook kernels again, on older versions of ipykernel.
	for folder in $(KERNEL_FOLDERS); do \
		echo $$folder; PYTHONPATH=$(CURDIR)/$$folder $(BIN)/python -m pytest tests/notebook/test_kernel*.py || exit 1; \
	done

test-pandas22: $(READY) $(PANDAS_22)  ## Run the tests of dataframes again, on pandas 2.2.
	PYTHONPATH=$(CURDIR)/$(PANDAS_22) $(BIN)/python -c 'import pandas; assert pandas.__version__.startswith("2.2.")'
	PYTHONPATH=$(CURDIR)/$(PANDAS_22) $(BIN)/python -m pytest tests/dataframe --deselect tests/dataframe/kept/test_kills.py

test-clients: $(READY) $(LOTUS)  ## Label a dataframe through the server with LOTUS (an environment of 500 MB in .cache/clients).
	$(BIN)/python -m pytest tests/clients

test-gpu:  ## Run the kernel, engine and parity tests on this machine's GPU, in the current Python environment.
	python3 -m pytest tests/kernels tests/runner tests/gpu -m "gpu or not gpu"
	python3 -m pytest $(GPU_RESULTS)

test-browser: $(VENV)/.browser-ready  ## Use pagednb in a real JupyterLab in a real browser (needs chromium from the system).
	$(BIN)/python -m pytest tests/browser

lint: $(READY)  ## Check style and types.
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

lab: $(VENV)/.lab-ready  ## Open JupyterLab in notebooks/ (options through LAB_ARGS; root in a container: LAB_ARGS=--allow-root).
	$(BIN)/jupyter lab --notebook-dir notebooks $(LAB_ARGS)

docs: $(VENV)/.docs-ready  ## Run all notebooks on the embedded model and write them as HTML pages to build/docs.
	$(BIN)/python notebooks/render.py --output build/docs

screenshots: $(VENV)/.browser-ready  ## Make the pictures of the README anew: the browser tests take them.
	$(BIN)/python -m pytest tests/browser/test_screenshots.py
	cp tests/browser/output/readme/*.png notebooks/images/

bench:  ## Time the engine on this machine, in the current Python environment (other models through BENCH_ARGS).
	python3 -m pagednb bench $(BENCH_ARGS)

clean:  ## Remove the environment and everything generated.
	rm -rf $(VENV) .cache build *.egg-info

$(READY): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[demo,test]"
	touch $@

$(KERNEL_FOLDERS): .cache/ipykernel/%: $(READY)
	rm -rf $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ ipykernel==$*

$(PANDAS_22): $(READY)
	rm -rf $@
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --target $@ pandas==$(@F) pytz tzdata

$(LOTUS): tests/clients/lotus.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --requirement $<
	touch $@

# what an extra of pyproject.toml brings beyond the above
$(VENV)/.%-ready: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[$*]"
	touch $@
