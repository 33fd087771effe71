# make demo   from nothing to drawings;  make test   everything that is proven;  make soak   what takes longer
VENV := .venv
PYTHON := $(VENV)/bin/python
export TF_CPP_MIN_LOG_LEVEL ?= 3

.PHONY: demo test soak lint clean
DEMO := outputs/demo

demo: $(VENV)/.runtime
	$(PYTHON) render_svg2bitmap.py --data_base_dir=datasets
	$(PYTHON) sketch_pix2seq_train.py --preset demo --overwrite --log_root $(DEMO)/log --snapshot_root $(DEMO)/snapshot
	$(PYTHON) sketch_pix2seq_sampling.py --model_dir $(DEMO)/snapshot
	$(PYTHON) sketch_pix2seq_evaluate.py --model_dir $(DEMO)/snapshot --evaluation_dir $(DEMO)/evaluation \
	  --scores rec --temperatures 0.1
	@echo "The picture to look at: outputs/sampling/gallery.png"

test: $(VENV)/.development
	$(PYTHON) -m pytest

soak: $(VENV)/.development
	$(PYTHON) tests/soak.py

lint: $(VENV)/.development
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .

clean:
	rm -rf $(VENV) datasets/bitmap outputs/demo

$(VENV)/.runtime: requirements.txt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q -r requirements.txt
	@$(PYTHON) -c "import cairocffi" 2>/dev/null || $(MAKE) --no-print-directory libcairo
	touch $@

$(VENV)/.development: $(VENV)/.runtime requirements-dev.txt
	$(PYTHON) -m pip install -q -r requirements-dev.txt
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
