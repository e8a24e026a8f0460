# The habits of the project: `make help` lists them. Each target installs what it needs into .venv first.

MODEL ?= seg
OUT ?= build/$(MODEL)
# What `make package` writes, and where.
FORMAT ?= triton
PACKAGE_OUT ?= build/$(FORMAT)
# What `make page` shows, and where.
RESULT ?= results/seg.json
PAGE_OUT ?= build/page
PYTHON ?= python3
VENV ?= .venv
# On a Jetson: make export VENV_FLAGS=--system-site-packages, so that JetPack's TensorRT is seen.
VENV_FLAGS ?=
TEST_JOBS ?= 2

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
# Files have the short name of a network: seg for espnetv2_seg.
ARTEFACT := $(OUT)/$(patsubst eru_%,%,$(patsubst espnetv2_%,%,$(MODEL))).onnx
# Every variable becomes the option of the same name; one that is not set leaves the command's default.
EXPORT_OPTIONS := $(foreach option,WIDTH DATASET SIZE BATCH WEIGHTS VOCABULARY IO PRECISION CALIBRATION MIN_AGREEMENT ENGINE \
	COMPUTE_CAPABILITY WORKSPACE TIMING_CACHE DLA COMPATIBLE,\
	$(if $($(option)),--$(shell echo $(option) | tr A-Z_ a-z-) '$($(option))'))
PACKAGE_OPTIONS := $(if $(MAX_BATCH),--max-batch '$(MAX_BATCH)')
BENCH_OPTIONS := $(foreach option,RUNTIME DEVICE THREADS ROUNDS ITERATIONS BLOCK RATE STREAMS MEASURE PAGE POWER_SOURCE POWER_WINDOW POWER_ROUNDS,\
	$(if $($(option)),--$(shell echo $(option) | tr A-Z_ a-z-) '$($(option))'))
PAPER := build/paper
# The networks of about 300 million multiply-adds that `make paper` exports, and the width of each: see docs/paper.md.
PAPER_WIDTHS := cls=2.0 shufflenetv2=1.5 mobilenetv1=0.75 shufflenetv1=1.5 mobilenetv2=1.0
PAPER_MODELS := $(foreach pair,$(PAPER_WIDTHS),$(firstword $(subst =, ,$(pair))))
# Engines take minutes to build, and without a GPU they would only be skipped.
PAPER_ENGINE := $(or $(ENGINE),$(if $(wildcard /dev/nvidia0 /dev/nvhost-gpu /dev/nvgpu),auto,none))
PAPER_OPTIONS := $(foreach option,BATCHES RUNTIME DEVICE THREADS ROUNDS ITERATIONS MEASURE POWER_SOURCE POWER_WINDOW \
	POWER_ROUNDS IMAGES,$(if $($(option)),--$(shell echo $(option) | tr A-Z_ a-z-) '$($(option))'))
TYPED := model export runtime power

.PHONY: help install export bench bench-harness bench-cpp doctor package paper page test test-gpu lint type fmt clean cpp cpp-test cpp-lint cpp-fuzz cpp-valgrind
.DEFAULT_GOAL := help

help: ## This list
	@echo "Targets:"
	@grep -E '^[a-z-]+:.*## ' Makefile | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 17
	@echo "Variables, with the options of espnet-export and espnet-bench behind them:"
	@echo "  export: MODEL=seg|cls|det|lm|mobilenetv1|...  OUT=build/MODEL  WIDTH=2.0  DATASET=cityscapes|voc|coco  SIZE=512x1024 (HEIGHTxWIDTH)"
	@echo "          BATCH=1|1,4,8  WEIGHTS=auto|random|FILE  VOCABULARY=FILE  IO=deploy|raw|deepstream|lowres"
	@echo "          PRECISION=fp32|fp16|int8  CALIBRATION=DIR  MIN_AGREEMENT=0.98 (int8)"
	@echo "          ENGINE=auto|none|tensorrt|trtexec|tensorrt-rtx  COMPUTE_CAPABILITY=8.6,8.9 (tensorrt-rtx)"
	@echo "          WORKSPACE=2048 (MiB)  TIMING_CACHE=FILE  DLA=0  COMPATIBLE=version,ampere+ (engines of TensorRT)"
	@echo "  bench-harness: HARNESS_OPTIONS='--rounds 30 --iterations 20'"
	@echo "  bench-cpp: BENCH_CPP_OPTIONS='--rounds 20 --threads 1'"
	@echo "  package: FORMAT=triton|deepstream (with IO=deepstream)  PACKAGE_OUT=build/FORMAT  MAX_BATCH=8"
	@echo "  bench:  MODEL OUT  RUNTIME=onnxruntime,openvino,torch  DEVICE=cpu|cuda  THREADS=2  ROUNDS=10  ITERATIONS=10  BLOCK=1 (s)  RATE=30 (1/s)  STREAMS=1"
	@echo "          MEASURE=latency,power,memory,operators  PAGE=seg.html  POWER_SOURCE=auto|nvml|ina3221|tegrastats|rapl  POWER_WINDOW=12 (s)  POWER_ROUNDS=9"
	@echo "  paper:  BATCHES=1,2,4,8  RUNTIME DEVICE THREADS ROUNDS ITERATIONS  MEASURE=latency,power,operators  IMAGES=500"
	@echo "          POWER_SOURCE POWER_WINDOW POWER_ROUNDS  ENGINE=none (where there is a GPU)"
	@echo "  page:   RESULT=results/seg.json  PAGE_OUT=build/page"
	@echo "  doctor: FILE=seg.trt"
	@echo "  test:   TEST_JOBS=2"
	@echo "  cpp:    CPP_OPTIONS='-DESPNET_WITH_TENSORRT=ON -DTensorRT_ROOT=...'  CPP_BUILD=build/cpp  CPP_PREFIX=build/cpp/install  CPP_JOBS=2  RUNS=1000000 (cpp-fuzz)"
	@echo "  all:    PYTHON=python3  VENV=.venv  VENV_FLAGS=--system-site-packages (on a Jetson)"

install: $(VENV)/.installed ## Make .venv with everything that export and bench need, at pinned versions

export: $(VENV)/.installed ## Export MODEL to OUT: ONNX, manifest, parity proof, engine
	$(BIN)/espnet-export '$(MODEL)' --out '$(OUT)' $(strip $(EXPORT_OPTIONS))

# With export variables the file is made anew: an old one could have been exported with others.
bench: $(if $(strip $(EXPORT_OPTIONS)),export,$(ARTEFACT)) ## Latency (MEASURE=power: energy) of MODEL in ONNX Runtime, OpenVINO and PyTorch, interleaved
	$(BIN)/espnet-bench --engine '$(ARTEFACT)' $(strip $(BENCH_OPTIONS))

# On a machine that does nothing else.
bench-harness: $(VENV)/.installed ## What our bench adds to an inference, against a bare loop around the library; 4 beyond 2 %
	$(BIN)/python benchmarks/harness.py $(HARNESS_OPTIONS)

bench-cpp: cpp ## The C++ runtime against Python, from pixels to answers, and its upsampling; 4 where it is slower
	$(BIN)/python benchmarks/cpp.py --library '$(CPP_BUILD)/libespnet_runtime.so' $(BENCH_CPP_OPTIONS)

package: $(if $(strip $(EXPORT_OPTIONS)),export,$(ARTEFACT)) ## Triton repository or DeepStream configuration of MODEL
	$(BIN)/espnet-package --engine '$(ARTEFACT)' --format '$(FORMAT)' --out '$(PACKAGE_OUT)' $(strip $(PACKAGE_OPTIONS))

$(ARTEFACT): | $(VENV)/.installed
	$(MAKE) export

paper: $(foreach model,$(PAPER_MODELS),$(PAPER)/$(model)/$(model).onnx) $(VENV)/.installed-report ## The paper's five networks: time, power, energy, and which claims hold here
	$(BIN)/espnet-paper '$(PAPER)' --out '$(PAPER)/report' $(strip $(PAPER_OPTIONS))

# Speed needs no training: the weights are seeded random numbers.
$(PAPER)/%.onnx: | $(VENV)/.installed
	$(BIN)/espnet-export $(notdir $*) --width $(patsubst $(notdir $*)=%,%,$(filter $(notdir $*)=%,$(PAPER_WIDTHS))) \
		--batch 1,8,64 --weights random --engine $(PAPER_ENGINE) --out '$(@D)'

page: $(VENV)/.installed-report ## RESULT=results/seg.json as a page, with charts and tables, in PAGE_OUT
	$(BIN)/espnet-page '$(RESULT)' --out '$(PAGE_OUT)'

doctor: $(VENV)/.installed ## What this machine can build, run and measure; FILE=seg.trt: what a file is, and whether it fits
	$(BIN)/espnet-doctor $(if $(FILE),'$(FILE)')

# One process for each job, of one thread: products this small take longer to share out than to compute.
test: $(VENV)/.installed-dev ## All tests that this machine can run
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests --numprocesses $(TEST_JOBS) --dist loadfile --ignore tests/runtime/cpp

test-gpu: $(VENV)/.installed-dev ## The tests that need an NVIDIA GPU, and with TensorRT those that need it
	$(BIN)/python -m pytest tests -m 'gpu or tensorrt'

lint: $(VENV)/.installed-dev ## Style and common mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(VENV)/.installed-dev build/lint/espnet_edge ## Types of the whole package
	MYPYPATH=build/lint $(BIN)/mypy $(foreach package,$(TYPED),-p espnet_edge.$(package)) \
		-m espnet_edge.commands -m espnet_edge.errors -m espnet_edge.files -m espnet_edge.lazy
	MYPYPATH=build/lint:examples $(BIN)/mypy -m train_lm -m lm_training -m lm_data
	MYPYPATH=build/lint:benchmarks $(BIN)/mypy -m harness -m cpp -m c_library

fmt: $(VENV)/.installed-dev ## Rewrite the code in the project's style
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The C++ library. CPP_OPTIONS go to cmake: CPP_OPTIONS='-DTensorRT_ROOT=/opt/TensorRT -DESPNET_WITH_TENSORRT=ON'.
CPP_BUILD ?= build/cpp
CPP_PREFIX ?= $(CPP_BUILD)/install
CPP_OPTIONS ?=
CPP_JOBS ?= 2
RUNS ?= 1000000
CPP_PACKAGES := cmake ninja-build g++ doctest-dev nlohmann-json3-dev libssl-dev libpng-dev libjpeg-dev
CPP_CHECKER_PACKAGES := clang-14 clang-tidy-14 clang-format-14 libclang-rt-14-dev valgrind libc6-dbg
# Those that replace operator new see valgrind's instead, those of threads are for ThreadSanitizer, and OpenVINO's readers
# of broken files are not clean themselves.
CPP_VALGRIND_TESTS := tensor artefact plan network c_api preprocess postprocess paint upsample_argmax
CPP_NEEDS = @missing=; for tool in $(1); do command -v $$tool > /dev/null || missing="$$missing $$tool"; done; \
	test -z "$$missing" || { echo "missing:$$missing; apt-get install $(2)"; exit 3; }
CPP_FILES = $(shell git ls-files 'runtime/cpp/*.cpp' 'runtime/cpp/*.hpp' 'runtime/cpp/*.h' 'runtime/cpp/*.c')
# OpenVINO's wheel has headers, libraries and CMake files; where there is none, the library is built without it.
CPP_CONFIGURE = cmake -S runtime/cpp -G Ninja $(addprefix -DOpenVINO_DIR=,$(shell $(BIN)/python -c \
	'import openvino, pathlib; print(pathlib.Path(openvino.__file__).parent / "cmake")' 2> /dev/null)) $(CPP_OPTIONS)
# Quick to compile, with lines in the reports. ccache makes the second time short, where there is one.
export CMAKE_CXX_COMPILER_LAUNCHER ?= $(shell command -v ccache)
CPP_CHECKED = $(CPP_CONFIGURE) -DCMAKE_BUILD_TYPE=Checked -DCMAKE_CXX_FLAGS_CHECKED='-O1 -g1' -DESPNET_BUILD_BOTH=OFF -DESPNET_BUILD_EXAMPLES=OFF

cpp: $(VENV)/.installed ## The C++ library, its tools, examples and tests in build/cpp, installed to build/cpp/install
	$(call CPP_NEEDS,cmake ninja c++,$(CPP_PACKAGES))
	$(CPP_CONFIGURE) -B $(CPP_BUILD) -DCMAKE_INSTALL_PREFIX='$(abspath $(CPP_PREFIX))'
	cmake --build $(CPP_BUILD) --parallel $(CPP_JOBS)
	cmake --install $(CPP_BUILD) > /dev/null

cpp-test: cpp $(VENV)/.installed-dev ## Its tests, also with sanitizers, and against Python
	cd $(CPP_BUILD) && ctest --output-on-failure --timeout 300
	$(CPP_CHECKED) -B $(CPP_BUILD)-address -DESPNET_SANITIZE=address,undefined
	cmake --build $(CPP_BUILD)-address --parallel $(CPP_JOBS)
	cd $(CPP_BUILD)-address && ctest --output-on-failure --timeout 300
	$(CPP_CHECKED) -B $(CPP_BUILD)-thread -DESPNET_SANITIZE=thread
	cmake --build $(CPP_BUILD)-thread --parallel $(CPP_JOBS)
	cd $(CPP_BUILD)-thread && ctest --output-on-failure --timeout 300
	ESPNET_EDGE_REQUIRE_CPP=1 ESPNET_CPP_BUILD='$(abspath $(CPP_BUILD))' OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest tests/runtime/cpp

cpp-lint: cpp ## Style and common mistakes of the C++ code
	$(call CPP_NEEDS,clang-format-14 clang-tidy-14,$(CPP_CHECKER_PACKAGES))
	clang-format-14 --dry-run --Werror $(CPP_FILES)
	$(CPP_CONFIGURE) -B $(CPP_BUILD) -DCMAKE_EXPORT_COMPILE_COMMANDS=ON > /dev/null
	sed -n 's/^ *"file": "\(.*\/runtime\/cpp\/.*\.cpp\)",\{0,1\}$$/\1/p' $(CPP_BUILD)/compile_commands.json | grep '/cpp/src/' | grep -v '/tensorrt_' | sort -u \
		| xargs --max-args=1 --max-procs=2 clang-tidy-14 --quiet --extra-arg=-std=c++17 -p $(CPP_BUILD)

# A picture takes much longer than a manifest.
cpp-fuzz: $(VENV)/.installed ## RUNS=1000000 damaged manifests and engines, and fewer pictures, through the readers
	$(call CPP_NEEDS,cmake ninja clang++-14,$(CPP_PACKAGES) $(CPP_CHECKER_PACKAGES))
	CC=clang-14 CXX=clang++-14 $(CPP_CHECKED) -B $(CPP_BUILD)-fuzz -DESPNET_SANITIZE=address,undefined \
		-DESPNET_BUILD_FUZZERS=ON -DESPNET_BUILD_TOOLS=OFF -DESPNET_WITH_OPENVINO=OFF
	cmake --build $(CPP_BUILD)-fuzz --parallel $(CPP_JOBS) --target fuzzers
	$(BIN)/python runtime/cpp/tests/fuzz/make_seeds.py $(CPP_BUILD)-fuzz/seeds
	for name in manifest plan image; do \
		runs=$(RUNS); test $$name != image || runs=$$((runs / 50)); \
		found=$(CPP_BUILD)-fuzz/corpus/$$name; mkdir -p $$found; \
		$(CPP_BUILD)-fuzz/tests/fuzz_$$name -runs=$$runs -verbosity=0 -print_final_stats=1 -max_len=16384 -timeout=10 \
			-artifact_prefix=$(CPP_BUILD)-fuzz/$$name- $$found $(CPP_BUILD)-fuzz/seeds/$$name || exit 1; \
	done

cpp-valgrind: cpp ## Its tests under valgrind: no leak, nothing uninitialised
	$(call CPP_NEEDS,valgrind,$(CPP_CHECKER_PACKAGES))
	for test in $(addprefix $(CPP_BUILD)/tests/test_,$(CPP_VALGRIND_TESTS)); do \
		valgrind --quiet --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
			--suppressions=runtime/cpp/tests/suppressions/valgrind.txt --error-exitcode=1 $$test --minimal=true || exit 1; \
	done

clean: ## Remove .venv and everything built
	rm -rf build $(VENV) .mypy_cache .pytest_cache .ruff_cache

$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) --version 2>&1), Python 3.10 or newer is needed; name one with PYTHON=..."; exit 2; }
	$(PYTHON) -m venv $(VENV_FLAGS) $(VENV)
	$(PIP) --editable '.[export,openvino,nvml,report]'
	@$(PIP) --editable '.[rtx]' || \
		echo "TensorRT-RTX is not installed (no wheel for this platform, or see above): no engines without TensorRT."
	@$(PIP) --editable '.[cuda]' || \
		echo "cuda-python is not installed (see above): engines run through PyTorch's CUDA, or see docs/gpu.md."
	@touch $@

$(VENV)/.installed-report: $(VENV)/.installed
	$(PIP) --editable '.[report]'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) --editable '.[dev]'
	@touch $@

# mypy looks for a folder called espnet_edge; the link gives the repository root that name.
build/lint/espnet_edge:
	@mkdir -p build/lint
	@ln -sfn ../.. $@
