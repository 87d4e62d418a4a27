"""Runs a WebAssembly program of WASI preview 1, such as a test that cargo built for wasm32-wasip1, in wasmtime (on PyPI).

    CARGO_TARGET_WASM32_WASIP1_RUNNER="python3 tools/wasi.py" cargo test --target wasm32-wasip1 ...

The program has the arguments and the environment of this one and sees no file. Its status is the status; 1 where it traps.
"""

import os
import sys

from wasmtime import Engine, ExitTrap, Linker, Module, Store, Trap, WasiConfig


def main(arguments: list[str]) -> int:
    engine = Engine()
    wasi = WasiConfig()
    wasi.argv = arguments
    wasi.env = list(os.environ.items())
    wasi.inherit_stdout()
    wasi.inherit_stderr()
    store, linker = Store(engine), Linker(engine)
    store.set_wasi(wasi)
    linker.define_wasi()
    program = linker.instantiate(store, Module.from_file(engine, arguments[0]))
    try:
        program.exports(store)["_start"](store)
    except ExitTrap as end:
        return end.code
    except Trap as trap:
        print(trap, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
