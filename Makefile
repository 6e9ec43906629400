# The course's commands. `make` alone lists them. Works with GNU make 3.81 and newer, and a POSIX shell.
# On Windows, README.md gives the same steps for PowerShell.
#
#   PYTHON=python3.12     the Python to make the environment with (default: the first suitable one on PATH)
#   VENV=.venv            where the environment lies
#   PIP_ARGS="..."        more arguments for pip while it installs
#   ARGS="..."            more arguments for the command itself: make test ARGS="-k tokenization"
#   WORKERS=2             test processes; 0 runs all tests in one
#   BENCH=strands         which of benchmarks/ to run, without .py

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help setup lab test test-all lint notebooks data baselines bench slides site browser nbgrader wheelhouse constraints clean

PYTHON ?=
VENV ?= .venv
PIP_ARGS ?=
ARGS ?=
WORKERS ?= 2
BENCH ?= tokenizers mixers selective_scan variants
export PYTHON VENV PIP_ARGS

run = "$$VENV/bin/python"
# Modules in their order, and not by their number of tests: the two that open a browser have few, and are the slowest.
pytest = $(run) -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder

help: ## list the commands
	@echo "Anatomy of a Genomic Foundation Model. Start with: make lab"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Settings: PYTHON=python3.12  VENV=.venv  PIP_ARGS=  ARGS=  WORKERS=2  (see the head of the Makefile)"

setup: ## make the environment (the commands below do this themselves)
	@$(SHELL) tools/setup_env.sh

lab: setup ## open the first notebook in JupyterLab, on this computer only
	@set -- notebooks/*.ipynb; \
	if [ ! -e "$$1" ]; then echo "There is no notebook in notebooks/: run 'make notebooks' first." >&2; exit 1; fi; \
	case " $(ARGS) " in *" --allow-root"*) ;; *) if [ "$$(id -u)" = 0 ]; then \
	echo "JupyterLab does not start as root: use an ordinary account, or type: make lab ARGS=--allow-root" >&2; \
	exit 1; fi ;; esac; \
	echo "Opening $$1 in JupyterLab on 127.0.0.1; Ctrl-C twice ends it."; \
	exec $(run) -m jupyterlab --ip=127.0.0.1 --ServerApp.root_dir=. --LabApp.default_url="/lab/tree/$$1" $(ARGS)

test: setup ## run all tests, the solution notebooks among them
	@echo "Running the tests in $(WORKERS) processes."
	@$(pytest) $(ARGS)

test-all: setup ## the same, and the learners' notebooks as well
	@echo "Running all tests, with the learners' notebooks, in $(WORKERS) processes."
	@$(pytest) tests notebooks $(ARGS)

browser: setup ## open every notebook in JupyterLab in Chromium, run it, solve it (17 minutes on two cores)
	@$(run) -m pytest tests/test_jupyterlab.py -p no:nbval --override-ini=addopts=-q --every-notebook -v $(ARGS)

lint: setup ## check style and formatting of code and notebook sources
	@$(run) -m ruff check .
	@$(run) -m ruff format --check .

notebooks: setup ## rebuild the notebooks whose source changed
	@$(run) tools/build_notebooks.py $(ARGS) && $(run) tools/build_readme.py && $(run) tools/build_instructor.py

data: setup ## rebuild data/ from the source packages
	@$(run) tools/build_data.py $(ARGS)

baselines: setup ## measure the tables' baselines anew (about ten minutes)
	@$(run) tools/data_baselines.py $(ARGS)

bench: setup ## time the package beside its peers; one script: make bench BENCH=choosing ARGS=speed
	@for name in $(BENCH); do \
	if [ ! -e "benchmarks/$$name.py" ]; then echo "There is no benchmarks/$$name.py." >&2; exit 1; fi; \
	echo "Running benchmarks/$$name.py"; $(run) "benchmarks/$$name.py" $(ARGS) || exit 1; done

slides: setup ## figures, then all decks as HTML and PDF in dist/slides (Marp: needs Node.js, and Chromium for PDF)
	@$(run) tools/build_slides.py $(ARGS)

site: setup ## notebooks, slides and reference as a site in dist/site, which needs no network
	@$(run) tools/build_site.py $(ARGS)

nbgrader: setup ## a course folder for nbgrader in dist/nbgrader, from the same sources (its extra: classroom)
	@$(run) tools/make_nbgrader.py $(ARGS)

wheelhouse: setup ## a folder that installs the course without a network, in dist/wheelhouse
	@$(run) tools/make_wheelhouse.py $(ARGS)

constraints: ## resolve pyproject.toml anew into constraints.txt (needs uv)
	@uv="$$VENV/bin/uv"; [ -x "$$uv" ] || uv=uv; \
	command -v "$$uv" >/dev/null 2>&1 || { echo "This needs uv: install it (pip install uv) and try again." >&2; exit 1; }; \
	{ echo "# Tested versions of all that the course installs, from the ranges of pyproject.toml. Made by: make constraints"; \
	echo "# (uv pip compile --universal). Tested: Python 3.11 on Linux x86-64, with the CPU build of PyTorch. Lines with a"; \
	echo "# marker serve other Pythons and systems; for them the versions are known to fit together, but were not run."; \
	"$$uv" pip compile pyproject.toml --extra dev --extra slides --extra classroom --universal --python-version 3.10 --quiet \
	--no-header --no-annotate; } > constraints.txt.part && mv constraints.txt.part constraints.txt
	@echo "constraints.txt is new: run make test before you commit it."

clean: ## remove caches and built files (the environment stays; to start over, remove .venv too)
	@rm -rf build dist .pytest_cache .ruff_cache .hypothesis constraints.txt.part
	@find . -name .git -prune -o -path "./$(VENV)" -prune -o -type d \( -name __pycache__ -o -name .ipynb_checkpoints \) \
	-exec rm -rf {} +
	@echo "Caches and built files are gone."
