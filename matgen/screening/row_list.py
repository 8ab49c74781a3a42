"""The rows of a screening as a list that notebooks show as a table."""

from collections.abc import Iterable
from html import escape
from typing import Any

from matgen.screening.given_columns import PREFIX
from matgen.screening.row import Row, cells
from matgen.structures.candidate import KindName
from matgen.structures.candidate_html import MOST_ROWS, beyond, formula_html, table
from matgen.structures.candidate_list import data_frame


class Rows(list[Row]):
    """Rows in the order of the input.

    Args:
        rows: of one screening.
        kind: of its structures.
        more: properties of property files.
    """

    def __init__(self, rows: Iterable[Row] = (), kind: KindName = "crystal", more: tuple[str, ...] = ()) -> None:
        super().__init__(rows)
        self._kind, self._more = kind, more

    def _repr_html_(self) -> str:
        heads = ["rank", "name", "formula", "passed", "failed checks", "reason"]
        lines = []
        for row in self[:MOST_ROWS]:
            reason = "; ".join(row.verdicts[name].reason for name in row.failed)
            told = [formula_html(row.formula), "✓" if row.passed else "✗", escape(", ".join(row.failed))]
            lines.append([str(row.rank or ""), escape(row.name), *told, escape(reason)])
        return table(heads, lines) + beyond(len(self))

    def to_dataframe(self) -> Any:
        """Return a pandas data frame with the columns of `results.csv`, and labels of the files as `given_NAME`.

        Raises:
            NoPandasError: pandas is not installed.
        """
        return data_frame(self.table())

    def table(self) -> list[dict[str, Any]]:
        """Return the rows of that table as plain dictionaries."""
        whole = []
        for row in self:
            given = {f"{PREFIX}{name}": value for name, value in row.given.items()}
            whole.append(cells(row, self._kind, self._more) | given)
        return whole
