"""Train every model of brainpy.state that has a gradient, and write what comes of it into docs/neurons.md."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "neurons.md"
BEGIN, END = "<!-- brainpy -->", "<!-- end of brainpy -->"


def table() -> str:
    """Return the table: a row for each model, with its errors or why it is refused."""
    sys.path.insert(0, str(ROOT / "tests"))
    import brainpy_models

    lines = ["| model of brainpy.state | error in windows | error step by step |", "|---|---|---|"]
    for name in brainpy_models.MODELS:
        found = brainpy_models.errors(name)
        option = "".join(f", `{k}={v!r}`" for k, v in brainpy_models.OPTIONS.get(name, {}).items())
        lines.append(f"| {name}{option} | {found['windows']:.0e} | {found['streaming']:.0e} |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main() -> None:
    """Replace what stands between the two marks."""
    text = PAGE.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    PAGE.write_text(f"{text[:begin]}\n{table()}\n{text[end:]}")


if __name__ == "__main__":
    main()
