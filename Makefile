# Every target runs with the tools of $(VENV), which is made at the first need. To reuse one:
#   make demo VENV=/path/to/other/checkout/.venv
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
# With it a script does not find the library beside it; jobs of the workflow run without it anyway.
unexport PYTHONSAFEPATH

VENV ?= .venv
# The first of these that runs, is new enough and can make environments is taken.
PYTHONS ?= python3.13 python3.12 python3.11 python3
CPUS := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2)
# With one core only, jobs that ask for two threads still run, just slower.
CORES ?= $(shell echo $$(( $(CPUS) < 2 ? 2 : $(CPUS) )))
PYTEST_ARGS ?=
# Processes that run the tests, a file at a time: tests of a file share what is built once. Many tests
# wait, for SLURM or for a lock, more than they compute, so there is one more than cores.
TEST_WORKERS ?= $(shell echo $$(( $(CORES) + 1 )))
SNAKEMAKE_ARGS ?=

WITH_TOOLS := export PATH="$(abspath $(VENV))/bin:$$PATH";
PIP := $(VENV)/bin/python -m pip --quiet --disable-pip-version-check --no-input
# The stamps carry a checksum of what they stand for: touching or cloning the requirements installs
# nothing again, changing them does.
checksum = $(shell cat $(1) | cksum | tr ' ' '-')
RUN_STAMP := $(VENV)/.capsynth-run-$(call checksum,requirements.lock requirements-nodeps.txt)
DEV_STAMP := $(VENV)/.capsynth-dev-$(call checksum,requirements-dev.lock requirements-nodeps.txt)
# Packages are those of the lock file and no others; a file with another checksum is refused.
LOCKED := --no-deps --require-hashes -r requirements-nodeps.txt -r
# Tools of the targets lock, audit and sbom, which are not part of the environment.
UV := uv==0.13.9
PIP_AUDIT := pip-audit==2.10.1
CYCLONEDX := cyclonedx-bom==7.5.0

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(DEV_STAMP) ## create the virtual environment, including the test tools

# pip is what `python -m venv` installs last: where it is, the environment is whole.
$(VENV)/bin/pip:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' \
	      >/dev/null 2>&1; then \
	    echo "making $(VENV) with $$($$python --version)"; \
	    exec $$python -m venv "$(VENV)"; \
	  fi; \
	done; \
	echo "no Python 3.11 or newer with its venv module among: $(PYTHONS)" >&2; \
	echo "install one (Debian: apt install python3-venv) or name it: make PYTHONS=/path/to/python" >&2; \
	exit 1

$(RUN_STAMP): | $(VENV)/bin/pip
	@echo "installing requirements.lock into $(VENV): a few gigabytes, some minutes"
	@$(PIP) install $(LOCKED) requirements.lock
	@rm -f $(VENV)/.capsynth-run-*; touch $@

$(DEV_STAMP): | $(VENV)/bin/pip
	@echo "installing requirements-dev.lock into $(VENV): a few gigabytes, some minutes"
	@$(PIP) install $(LOCKED) requirements-dev.lock
	@rm -f $(VENV)/.capsynth-*; touch $(RUN_STAMP) $@

# Snakemake locks its folder and, when killed, leaves the lock behind. It is taken away only if no
# Snakemake is alive that could hold it: one whose own make was killed may well be, and is waited
# for. results/.demo.lock keeps a second `make demo` from looking while the first one starts; it is
# an flock, so it goes with its process however that ends, and fd 9 is closed for all children.
# Without flock or /proc (macOS) a left lock stays, and Snakemake says how to remove it.
define free_the_folder
exec 9>results/.demo.lock; \
if command -v flock >/dev/null && [ -d /proc/self ]; then \
  flock --nonblock 9 || { echo "another make demo runs in this folder; waiting for it" >&2; flock 9; }; \
  is_snakemake='^[^ ]*python[0-9.]* (-[^ ]+ )*(-m |[^ ]*/)snakemake( |$$)'; \
  for process in /proc/[0-9]*; do \
    if [ "$$process/cwd" -ef . ] \
        && (tr '\0' ' ' <"$$process/cmdline") 2>/dev/null | grep -qE "$$is_snakemake"; then \
      echo "snakemake (process $${process#/proc/}) works in this folder; waiting for it" >&2; \
      while [ "$$process/cwd" -ef . ]; do sleep 1; done; \
    fi; \
  done; \
  if [ -n "$$(ls -A .snakemake/locks 2>/dev/null)" ]; then snakemake --unlock --quiet 9>&-; fi; \
fi
endef

# The embedded models are read from models/: HF_HUB_OFFLINE keeps libraries from asking the network.
define run_experiment # $(call run_experiment,OPTIONS OF SNAKEMAKE)
mkdir -p results logs; $(WITH_TOOLS) export HF_HUB_OFFLINE=1; \
$(free_the_folder); \
python workflow/scripts/warm.py serve -- \
  snakemake --cores $(CORES) --rerun-incomplete --quiet rules $(1) 9>&-; \
snakemake --cores 1 $(1) --report results/report.html >logs/report.log 2>&1 9>&- \
  || { cat logs/report.log >&2; exit 1; }; \
python workflow/scripts/print_table.py --table results/report/tables/main.md \
  results/report/tables/comparisons.md --report results/report.html 9>&-
endef

define run_context_bias # $(call run_context_bias,OPTIONS OF run_sweep)
$(WITH_TOOLS) export HF_HUB_OFFLINE=1; \
python workflow/scripts/warm.py serve -- \
  python workflow/scripts/run_sweep.py config/context-bias.yaml $(1) --cores $(CORES)
endef

.PHONY: demo
demo: $(RUN_STAMP) ## run the default experiment; print its table and the path of its report
	@$(call run_experiment)

.PHONY: demo-full
demo-full: $(RUN_STAMP) ## continue the demo with everything that it leaves out
	@$(call run_experiment,--configfile config/full.yaml)

.PHONY: findings
findings: $(RUN_STAMP) ## demo-full with seven training seeds and 400 steps, for docs/findings.md
	@$(call run_experiment,--configfile config/full.yaml config/findings.yaml)
	@$(call run_context_bias,--config config.yaml config/findings.yaml)

.PHONY: findings-again
findings-again: $(RUN_STAMP) ## repeat with other training and generation seeds, in a separate clone
	@$(call run_experiment,--configfile config/full.yaml config/findings-again.yaml)
	@$(call run_context_bias,--config config.yaml config/context-bias-again.yaml)

# Snakemake's options, for these two: make changed OPTIONS="--configfile config/imagenette.yaml ..."
OPTIONS ?=

.PHONY: changed
changed: $(RUN_STAMP) ## report what a run would do, why, and what it would cost
	@$(WITH_TOOLS) python workflow/scripts/report_changes.py -- --cores $(CORES) $(OPTIONS)

# Its own options: make estimate ESTIMATE_ARGS="--recorded ../pilot --gpus 4 16"
ESTIMATE_ARGS ?=

.PHONY: estimate
estimate: $(RUN_STAMP) ## estimate the cost of a run and its duration by number of GPUs
	@$(WITH_TOOLS) python workflow/scripts/report_estimate.py $(ESTIMATE_ARGS) -- --cores $(CORES) $(OPTIONS)

.PHONY: status
status: $(RUN_STAMP) ## report the progress of a run
	@$(WITH_TOOLS) python workflow/scripts/report_status.py -- --cores $(CORES) $(OPTIONS)

.PHONY: verify
verify: $(RUN_STAMP) ## find results that differ from what their jobs wrote
	@$(WITH_TOOLS) python workflow/scripts/verify_results.py

.PHONY: sweep-context-bias
sweep-context-bias: $(RUN_STAMP) ## run nine training sets at three context biases
	@$(call run_context_bias,)

# Its own options: make bench BENCH_ARGS="--only generation training --rounds 9"
BENCH_ARGS ?=

# Its number of experiments: make simulate REPETITIONS=200
REPETITIONS ?= 2000
.PHONY: simulate
simulate: $(DEV_STAMP) ## measure the coverage of intervals and tests (docs/statistics.md; half an hour)
	@$(WITH_TOOLS) PYTHONPATH=workflow/scripts:tests/support \
		python tests/support/simulated_experiments.py $(REPETITIONS)

.PHONY: bench
bench: $(RUN_STAMP) ## benchmark capsynth against alternatives (about an hour)
	@$(WITH_TOOLS) export HF_HUB_OFFLINE=1; python -m benchmarks $(BENCH_ARGS)

.PHONY: test
test: $(DEV_STAMP) ## run the tests; PYTEST_ARGS="-m 'not slow'" runs the quick ones
	@$(WITH_TOOLS) python -m pytest --numprocesses $(TEST_WORKERS) \
	  --dist loadfile --no-loadscope-reorder $(PYTEST_ARGS)

# How many faults, kills and damaged inputs each, and what they are drawn from.
SOAK_TRIALS ?= 305
SOAK_SEED ?= 1

.PHONY: soak
soak: $(DEV_STAMP) ## run the long tests: hundreds of faults, kills and damaged inputs, 10,000 fuzzed inputs
	@$(WITH_TOOLS) export CAPSYNTH_FAULT_TRIALS=$(SOAK_TRIALS) CAPSYNTH_FAULT_SEED=$(SOAK_SEED) \
	  CAPSYNTH_DAMAGE_TRIALS=$(SOAK_TRIALS) CAPSYNTH_FUZZ_INPUTS=10000; \
	python -m pytest tests/workflow/test_faults_and_kills.py tests/unit/test_fuzzing.py $(PYTEST_ARGS)

# Every check runs, so one round shows every defect.
.PHONY: lint
lint: $(DEV_STAMP) ## check style, types and the workflow
	@$(WITH_TOOLS) failed=0; \
	run() { echo "$$*"; "$$@" || failed=1; }; \
	run ruff check .; \
	run ruff format --check .; \
	run snakefmt --check Snakefile workflow; \
	run snakemake --lint; \
	run mypy workflow/scripts/capsynth; \
	exit $$failed

# $(call with_tool,PACKAGE,COMMANDS): COMMANDS with PACKAGE installed in a folder that goes again.
define with_tool
tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
$(VENV)/bin/python -m venv "$$tools"; \
"$$tools/bin/python" -m pip --quiet --disable-pip-version-check --no-input install $(1); $(2)
endef

# Versions that the lock files have stay, unless requirements*.txt ask for others.
.PHONY: lock
lock: $(VENV)/bin/pip ## lock the packages of requirements*.txt with checksums
	@$(call with_tool,$(UV),for name in requirements requirements-dev; do \
	  "$$tools/bin/uv" pip compile $$name.txt --universal --python-version 3.11 \
	    --generate-hashes --no-header --quiet --output-file $$name.lock; \
	done)

.PHONY: audit
audit: $(VENV)/bin/pip ## check the locked packages for vulnerabilities known to PyPI
	@$(call with_tool,$(PIP_AUDIT),"$$tools/bin/pip-audit" --strict --disable-pip --require-hashes \
	  -r requirements-dev.lock)

.PHONY: sbom
sbom: $(RUN_STAMP) ## write a software bill of materials, results/sbom.cdx.json (CycloneDX)
	@mkdir -p results; $(call with_tool,$(CYCLONEDX),"$$tools/bin/cyclonedx-py" environment \
	  $(VENV)/bin/python --pyproject pyproject.toml --output-reproducible \
	  --output-file "$$tools/installed.json"; \
	cat requirements-dev.lock requirements-nodeps.txt | "$$tools/bin/cyclonedx-py" requirements - \
	  --output-reproducible --output-file "$$tools/locked.json"; \
	"$$tools/bin/python" .ci/complete_sbom.py --installed "$$tools/installed.json" \
	  --locked "$$tools/locked.json" --output results/sbom.cdx.json requirements*.txt)

# A link, so that what `git pull` brings is in force; Snakemake looks into this folder for --profile.
.PHONY: slurm-profile
slurm-profile: ## let `snakemake --profile slurm` find the profile of this checkout
	@folder="$${XDG_CONFIG_HOME:-$$HOME/.config}/snakemake"; \
	if [ ! "$$folder/slurm" -ef profiles/slurm ]; then \
	  if [ -e "$$folder/slurm" ] || [ -L "$$folder/slurm" ]; then \
	    echo "$$folder/slurm is another profile; move it away, or say --profile profiles/slurm" >&2; \
	    exit 1; \
	  fi; \
	  mkdir -p "$$folder"; \
	  ln -s "$(abspath profiles/slurm)" "$$folder/slurm"; \
	fi; \
	echo "$$folder/slurm is $(abspath profiles/slurm)"

# docs/slurm.md says what the supervisor does; SNAKEMAKE_ARGS are targets and options of Snakemake.
.PHONY: slurm
slurm: $(RUN_STAMP) ## run the experiment on SLURM; restart Snakemake when it hangs or dies
	@$(WITH_TOOLS) exec python workflow/scripts/supervise.py -- \
	  snakemake --profile profiles/slurm $(SNAKEMAKE_ARGS)

.PHONY: slurm-cancel
slurm-cancel: $(RUN_STAMP) ## cancel this folder's jobs in SLURM's queue
	@$(WITH_TOOLS) exec python workflow/scripts/supervise.py --cancel

.PHONY: pretrain
pretrain: $(RUN_STAMP) ## retrain the embedded captioner and generator (many hours)
	@$(WITH_TOOLS) snakemake -s workflow/pretrain.smk --cores all --rerun-incomplete

# The models are those in models/, whatever remains of their training: no rule may retrain them.
.PHONY: evaluate-models
evaluate-models: $(RUN_STAMP) ## measure the committed models and print their figures
	@$(WITH_TOOLS) snakemake -s workflow/pretrain.smk --cores all --rerun-incomplete \
	  --allowed-rules render_web evaluate_models --forcerun evaluate_models -- evaluate_models

.PHONY: clean
clean: ## remove results, logs and caches; the virtual environment stays
	rm -rf results logs .snakemake .pytest_cache .hypothesis .ruff_cache .mypy_cache
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
