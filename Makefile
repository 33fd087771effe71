# make demo       from nothing to drawings
# make app        a page to draw on
# make results    every table of docs/results.md, from results/
# make test       the tests that take minutes;  make test-all  those that take long or need a browser or Inkscape;  make soak  the longest
# make test PYTHON=python3.12 takes another interpreter, in an environment of its own
PYTHON ?= python3
VENV := .venv$(if $(filter-out python3,$(PYTHON)),-$(notdir $(PYTHON)))
VENV_PYTHON := $(VENV)/bin/python
DEMO := outputs/demo

.PHONY: demo app results test test-all soak lint clean

demo: $(VENV)/.runtime
	$(VENV_PYTHON) render_svg2bitmap.py --data_base_dir=datasets
	$(VENV_PYTHON) sketch_pix2seq_train.py --preset demo --overwrite --log_root $(DEMO)/log --snapshot_root $(DEMO)/snapshot
	$(VENV_PYTHON) sketch_pix2seq_sampling.py --model_dir $(DEMO)/snapshot --guide 8
	$(VENV_PYTHON) sketch_pix2seq_evaluate.py --model_dir $(DEMO)/snapshot --evaluation_dir $(DEMO)/evaluation \
	  --split valid --scores rec ink --temperatures 0.1 --guide 8
	@echo "The picture to look at: outputs/sampling/gallery.png"

app: $(VENV)/.app
	$(VENV_PYTHON) sketch_pix2seq_app.py

results: $(VENV)/.runtime
	$(VENV_PYTHON) sketch_pix2seq_results.py

test: $(VENV)/.development
	$(VENV_PYTHON) -m pytest -m "not slow and not real"

test-all: $(VENV)/.development
	$(VENV_PYTHON) -m pytest -m "slow or real"

soak: $(VENV)/.development
	$(VENV_PYTHON) tests/soak.py

lint: $(VENV)/.development
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf .venv .venv-* datasets/bitmap datasets/packed $(DEMO)

$(VENV)/.runtime: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV_PYTHON) -m pip install -q -r requirements.txt
	@$(VENV_PYTHON) -c "import cairocffi" 2>/dev/null || $(MAKE) --no-print-directory libcairo
	touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.txt
	$(VENV_PYTHON) -m pip install -q -r requirements-dev.txt
	touch $@

$(VENV)/.app: $(VENV)/.runtime requirements-app.txt
	$(VENV_PYTHON) -m pip install -q -r requirements.txt -r requirements-app.txt
	touch $@

# The one thing that pip cannot install.
.PHONY: libcairo
libcairo:
	@if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -q && apt-get install -q -y --no-install-recommends libcairo2; \
	else \
	  echo "libcairo is missing. Install it, then run make again: sudo apt-get install libcairo2 (macOS: brew install cairo)"; \
	  exit 2; \
	fi
