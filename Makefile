# make figures    a fresh machine: environment, the bundled results, one chain and one training made here, the gallery
# make reproduce  the same from nothing, PRESET=quick or laptop; its first lines say about how long it takes
# make test       a fresh machine: the same environment, then the tests
# make bench      lossatlas beside other packages: benchmarks/results/<machine>.json and docs/performance.md (an hour)

PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
CORES ?= 2
PRESET ?= quick
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: figures reproduce test bench check setup lock docs site dvc help

help:
	@sed -n 's/^# make/make/p' $(MAKEFILE_LIST)

figures: setup
	@echo "== results of preset laptop from the bundled store (dvc pull)"
	$(BIN)/dvc pull --quiet
	@echo "== made here: one chain from nothing at preset quick, one stored training again"
	$(BIN)/python -m lossatlas.workflow.showcase --cores $(CORES)
	@echo "== gallery of preset laptop: embeddings, measures, bootstraps and pictures are computed here, trainings were pulled"
	$(BIN)/snakemake --cores $(CORES) --config "studies=$$($(BIN)/python -m lossatlas.workflow.dvc_stages --studies)" -- results/figures/all
	@echo "== open results/figures/all/index.html"
	@echo "   computed here: every figure, table and verdict, and what its top says; pulled: the trained networks behind them"
	@echo "   from nothing: make reproduce (PRESET=quick), make reproduce PRESET=laptop"

# PRESET=quick is made from data that come with the repository; laptop needs MNIST and CIFAR-10 (LOSSATLAS_DATA)
reproduce: setup
	@echo "== data of preset $(PRESET)"
	$(BIN)/dvc pull --quiet $(wildcard data/*.dvc)
	@echo "== everything of preset $(PRESET) from nothing"
	$(BIN)/snakemake --cores $(CORES) --config preset=$(PRESET) -- results/figures/all
	@echo "== open results/figures/all/index.html"

# One worker more than there are cores, since the tests of SLURM mostly wait; a file at a time, since its tests share what they make.
test: setup
	@echo "== tests (at most 20 minutes on 2 cores)"
	$(BIN)/dvc pull --quiet $(wildcard data/*.dvc)
	$(BIN)/python -m pytest -n $$(($(CORES) + 1)) --dist loadfile --no-loadscope-reorder

# The other packages lie in a folder of their own, without what they depend on: the environment has that, in our versions.
# One that the index does not have is said so in the results.
.peers: benchmarks/peers.lock $(VENV)/.installed
	grep -v '^#' benchmarks/peers.lock | while read package; do \
	  $(PIP) install --no-deps --upgrade --target .peers $$package || echo "== $$package: not installed"; done
	touch $@

# SIZE=full (what the table asks for), small (minutes) or tiny; CASES=names, all by default
SIZE ?= full
bench: .peers
	$(BIN)/dvc pull --quiet $(wildcard data/*.dvc)
	$(BIN)/python -m benchmarks $(CASES) --size $(SIZE)
	$(BIN)/python -m benchmarks.report

# make check     style, types, lint of the workflow, generated files
check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/python -m lossatlas.workflow.dvc_stages --check
	$(BIN)/python -m lossatlas.workflow.generated --check
	$(BIN)/python -m lossatlas.cli.page --check
	$(BIN)/python -m benchmarks.report --check

# make setup     only the environment
setup: $(VENV)/.installed

# torch first and with its own dependencies: the index decides between its CPU and CUDA builds. torchvision without
# dependencies: its wheel would ask for a torch of its own. The rest exactly as locked. Before 0.2 lossatlas had a command
# of its own in the place of Snakemake's; with that version goes the command, and Snakemake's comes back.
$(VENV)/.installed: requirements.lock pyproject.toml
	@echo "== environment $(VENV) from requirements.lock (two to five minutes)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || python3 -m venv $(VENV)
	$(PIP) install $$(grep '^torch==' requirements.lock)
	$(PIP) install --no-deps -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	grep -qs snakemake.cli $(BIN)/snakemake || $(PIP) install --no-deps --force-reinstall $$(grep '^snakemake==' requirements.lock)
	touch $@

# make lock      write the lock file from the environment, without what requirements-docs.lock names
lock:
	@{ echo '# Every package of the environment, exactly; `make lock` writes this file, `make setup` installs it.'; \
	  $(BIN)/python -m pip --disable-pip-version-check freeze --all --exclude-editable | grep -v '^pip==' \
	    | grep -vxF -f requirements-docs.lock | sed 's/+cpu$$//'; } > requirements.lock

# make docs      write docs/reference.md, docs/atlas.md and the JSON Schemas; insert published numbers into the pages
docs: setup
	$(BIN)/python -m lossatlas.workflow.generated
	$(BIN)/python -m lossatlas.cli.page
	$(BIN)/python -m benchmarks.report

# what builds the manual and checks crates: beside the environment, since no result depends on it
$(VENV)/.documented: $(VENV)/.installed requirements-docs.lock
	$(PIP) install --no-deps -r requirements-docs.lock
	touch $@

# make site      the manual as pages with a search, results/site/index.html; it works from a disk, without a network
site: $(VENV)/.documented
	$(BIN)/mkdocs build --quiet --strict --clean -f manual/mkdocs.yml
	@echo "== open results/site/index.html"

# make dvc       write dvc.yaml from the laptop preset, without config/store.yaml; the bundled store has what it names, no more
dvc: setup
	$(BIN)/python -m lossatlas.workflow.dvc_stages
	$(BIN)/dvc repro
	$(BIN)/dvc push
	$(BIN)/dvc gc --workspace --cloud --remote bundled --force
