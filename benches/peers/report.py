"""What a comparison found: tables, a CSV file, a chart."""

import csv
import dataclasses
import datetime
import pathlib
import platform
import subprocess
import typing


def processor() -> str:
    """The model of this machine's CPU, or its architecture where the system does not tell."""
    try:
        for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    if platform.system() == "Darwin":
        asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True)
        if asked.returncode == 0:
            return asked.stdout.strip()
    return platform.machine()


@dataclasses.dataclass(frozen=True)
class Occasion:
    """Where and when it was measured."""

    cpu: str = dataclasses.field(default_factory=processor)
    date: str = dataclasses.field(default_factory=lambda: datetime.date.today().isoformat())


def table(rows: list[dict[str, typing.Any]]) -> str:
    """Formats rows as a table of Markdown whose columns also line up as plain text."""
    names = list(rows[0])
    cells = [[str(row[name]) for name in names] for row in rows]
    widths = [max(map(len, column)) for column in zip(names, *cells)]
    numeric = [cell[:1].isdigit() for cell in cells[0]]

    def line(values: list[str]) -> str:
        padded = [
            value.rjust(width) if right else value.ljust(width) for value, width, right in zip(values, widths, numeric)
        ]
        return f"| {' | '.join(padded)} |"

    rule = [f"{'-' * (width - 1)}{':' if right else '-'}" for width, right in zip(widths, numeric)]
    return "\n".join([line(names), line(rule), *map(line, cells)]) + "\n"


def write_csv(path: pathlib.Path, occasion: Occasion, rows: list[dict[str, typing.Any]]):
    """Writes rows, each with its occasion."""
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, [*dataclasses.asdict(occasion), *rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(dataclasses.asdict(occasion) | row for row in rows)
