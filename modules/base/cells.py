"""Spreadsheet cells: texts that a spreadsheet would run as formulas are escaped."""

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # https://owasp.org/www-community/attacks/CSV_Injection
GUARD = "'"


def guarded(cell: str) -> str:
    """`cell`, with an apostrophe before it if a spreadsheet would run it as a formula; numbers stay as they are.

    >>> guarded("=1+1"), guarded("-1.5"), guarded("a cat")
    ("'=1+1", '-1.5', 'a cat')
    """
    return f"{GUARD}{cell}" if cell.startswith(FORMULA) and not _is_number(cell) else cell


def unguarded(cell: str) -> str:
    """The inverse of `guarded`."""
    return cell[1:] if cell[:1] == GUARD and guarded(cell[1:]) == cell else cell


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
