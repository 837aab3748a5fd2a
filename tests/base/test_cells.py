"""Cells that a spreadsheet would execute."""

import pytest

from modules.base.cells import guarded, unguarded


@pytest.mark.parametrize(
    "cell", ["=1+1", '=HYPERLINK("http://x")', "+a", "-cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "-"]
)
def test_a_formula_is_guarded(cell: str) -> None:
    assert guarded(cell) == f"'{cell}"
    assert unguarded(guarded(cell)) == cell


@pytest.mark.parametrize("cell", ["", "a cat", "7.5", "-1", "+2", "1e-5", "a=b", "(red:1.2)", "'tis", "'a"])
def test_all_else_stays(cell: str) -> None:
    assert guarded(cell) == cell
    assert unguarded(cell) == cell
