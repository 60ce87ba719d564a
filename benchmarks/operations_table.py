"""Measure how exact the gradient through every operation is, and write the table into docs/operations.md."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "operations.md"
BEGIN, END = "<!-- errors -->", "<!-- end of errors -->"


def table() -> str:
    """Return the table: a row for each operation, a column for each kind of unit."""
    sys.path.insert(0, str(ROOT / "tests"))
    import operations

    lines = [f"| operation | {' | '.join(operations.CELLS)} |", "|---|" + "---|" * len(operations.CELLS)]
    for name in operations.NETS:
        cells = []
        for cell in operations.CELLS:
            found = operations.errors(name, cell)
            cells.append(" / ".join(f"{found[order]:.0e}" for order in operations.ORDERS))
        print(name, *cells, sep=" | ", flush=True)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Replace what stands between the two marks."""
    text = PAGE.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:begin]}\n{table()}\n{text[end:]}")


if __name__ == "__main__":
    main()
