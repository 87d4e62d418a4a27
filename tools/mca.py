#!/usr/bin/env python3
"""Models the inner loops of the NEON kernels with llvm-mca and prints a Markdown table.

    cargo build --release --target aarch64-unknown-linux-gnu     # any way that builds the NEON kernels
    python tools/mca.py target/aarch64-unknown-linux-gnu/release/build/sepconv-*/out/libsepconv_*_neon.a

Needs an aarch64 objdump (`aarch64-linux-gnu-objdump`) and llvm-mca (`--mca llvm-mca-19`). The loop with the most fused
multiply-adds in the micro-kernel of a kernel's whole tile is modelled for 100 iterations. The peak is what the core's model issues of FMLA on 4 x f32: it
is measured by giving llvm-mca independent FMLAs alone, and stated beside the figure.
"""
import argparse
import re
import subprocess

LANES = 4
CORES = ["cortex-a57", "cortex-a76", "neoverse-n1", "neoverse-v1"]


def functions(objdump, library):
    """(object, function) -> list of (address, text) of its instructions."""
    listing = subprocess.run([objdump, "-d", "--no-show-raw-insn", library], check=True, capture_output=True, text=True).stdout
    found, current, object_name = {}, None, ""
    for line in listing.splitlines():
        if match := re.match(r"\S*?([a-z0-9_]+)\.o:", line):
            object_name = match[1]
        elif match := re.match(r"[0-9a-f]+ <(.+)>:", line):
            current = found.setdefault((object_name, match[1]), [])
        elif match := re.match(r"\s*([0-9a-f]+):\s+(.*)", line):
            current.append((int(match[1], 16), match[2].split("//")[0].strip()))
    return found


def inner_loop(instructions):
    """The backward jump's body with the most fused multiply-adds, of those that hold no other such body."""
    loops = []
    for address, text in instructions:
        match = re.match(r"(b\.\w+|cbn?z|tbn?z)\s.*?([0-9a-f]+) <", text)
        if match and int(match[2], 16) <= address:
            loops.append((int(match[2], 16), address))
    inner = [l for l in loops if not any(o != l and l[0] <= o[0] and o[1] <= l[1] for o in loops)]
    bodies = [[text for address, text in instructions if start <= address < end] for start, end in inner]
    return max(bodies, key=lambda body: sum(text.startswith("fmla") for text in body))


def micro_kernel(name):
    """The function for whole tiles away from the borders of the kernel `<op>_f32_<tile>_<isa>`."""
    tile = [int(size) for size in name.split("_")[2].split("x")]
    columns = tile[1] if len(tile) == 3 else tile[1] // LANES
    return f"micro_{tile[0]}x{columns}"


def cycles(mca, core, body):
    """Cycles an iteration of `body`."""
    # Jump targets mean nothing to the model.
    text = "\n".join(re.sub(r"^(b\.\w+|cbn?z\s+\w+,|b)\s+[0-9a-f]+ <.*", "nop", line) for line in body)
    command = [mca, "-mtriple=aarch64", f"-mcpu={core}", "-iterations=100", "-instruction-info=0", "-resource-pressure=0"]
    output = subprocess.run(command, input=text, check=True, capture_output=True, text=True).stdout
    return int(re.search(r"Total Cycles:\s+(\d+)", output)[1]) / 100


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library", help="the static library of the NEON kernels")
    parser.add_argument("--objdump", default="aarch64-linux-gnu-objdump")
    parser.add_argument("--mca", default="llvm-mca-19")
    arguments = parser.parse_args()
    found = functions(arguments.objdump, arguments.library)
    chains = [f"fmla v{i}.4s, v30.4s, v31.4s" for i in range(24)]
    peaks = {core: len(chains) / cycles(arguments.mca, core, chains) for core in CORES}
    print("| kernel | FMLA an iteration | loads per FMLA | " + " | ".join(f"{core} (peak {peaks[core]:.2f})" for core in CORES) + " |")
    print("|---|---|---|" + "---|" * len(CORES))
    for name in dict.fromkeys(name for name, _ in found):
        # A compiler may give a copy of a function an ending.
        label = next(label for of, label in found if of == name and label.split(".")[0] == micro_kernel(name))
        body = inner_loop(found[name, label])
        fused = sum(text.startswith("fmla") for text in body)
        loads = sum(2 if text.startswith("ldp\tq") else 1 for text in body if re.match(r"(ldr\s+q|ldur\s+q|ldp\s+q|ld1r?\s)", text))
        figures = []
        for core in CORES:
            rate = fused / cycles(arguments.mca, core, body)
            figures.append(f"{rate:.2f} a cycle, {100 * rate / peaks[core]:.0f} %")
        print(f"| `{name}` | {fused} | {loads / fused:.2f} | " + " | ".join(figures) + " |")


if __name__ == "__main__":
    main()
