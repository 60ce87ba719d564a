"""Every operation with traces, in every order, under spiking and smooth units, against an oracle."""

import re

import operations
import pytest
from operations import CELLS, NETS, ORDERS

TOLERANCE = 1e-4

# Each quick case takes one of the nine combinations; the slow test takes all.
QUICK = [
    (name, list(CELLS)[i % 3], ORDERS[i // 3 % 3])
    for i, name in enumerate(name for name, net in NETS.items() if net.fast)
]


@pytest.mark.parametrize(("name", "cell", "order"), QUICK, ids=[name.replace(" ", "_") for name, *_ in QUICK])
def test_an_operation_has_the_gradient_of_the_traces(name, cell, order):
    found = operations.errors(name, cell, (order,))
    assert max(found.values()) < TOLERANCE, found


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("name", NETS, ids=[name.replace(" ", "_") for name in NETS])
def test_every_operation_has_the_gradient_of_the_traces_in_every_order(name, cell):
    found = operations.errors(name, cell)
    assert set(found) == set(ORDERS)
    assert max(found.values()) < TOLERANCE, found


def test_the_quick_cases_take_every_cell_and_every_order():
    assert {(cell, order) for _, cell, order in QUICK} == {(c, o) for c in CELLS for o in ORDERS}


def test_the_table_in_the_docs_has_every_operation_and_no_large_error(root):
    page = (root / "docs" / "operations.md").read_text()
    table = page[page.index("<!-- errors -->") : page.index("<!-- end of errors -->")]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if "|" in line
    ]
    assert [row[0] for row in rows[2:]] == list(NETS)
    for row in rows[2:]:
        numbers = [float(n) for cell in row[1:] for n in re.findall(r"[\d.e+-]+", cell)]
        assert len(numbers) == len(CELLS) * len(ORDERS)
        assert max(numbers) < TOLERANCE
