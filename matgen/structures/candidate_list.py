"""The candidates of a run as a list that notebooks show as a table."""

from collections.abc import Mapping, Sequence
from typing import Any

from matgen.errors import UserError
from matgen.structures.candidate import Candidate
from matgen.structures.candidate_html import candidates_html
from matgen.structures.candidate_table import candidate_row


class NoPandasError(UserError, ImportError):
    """A data frame is asked for where pandas is not installed."""


class Candidates(list[Candidate]):
    """Candidates in the order of their run."""

    def _repr_html_(self) -> str:
        return candidates_html(self)

    def to_dataframe(self) -> Any:
        """Return a pandas data frame with the columns of `candidates.csv`.

        Raises:
            NoPandasError: pandas is not installed.
        """
        return data_frame(list(map(candidate_row, self)))


def data_frame(rows: Sequence[Mapping[str, Any]]) -> Any:
    """Return a pandas data frame of rows by column.

    Raises:
        NoPandasError: pandas is not installed.
    """
    try:
        from pandas import DataFrame
    except ImportError as error:
        raise NoPandasError(f"expected pandas for a data frame, got {error}; pip install pandas") from error
    return DataFrame(rows)
