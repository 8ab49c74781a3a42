"""The table of `matgen evidence`."""

from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from matgen.workflows.evidence import Compared, difference_to

COLUMNS = ("atoms", "free", "log Z", "in reverse", "Occam", "template", "log evidence", "difference")


def evidence_table(found: Sequence[Compared], formula: str) -> Table:
    """Make a table of evidences in nats, with standard errors, and differences to the first."""
    table = Table(title=f"log evidence of {formula}, nats per primitive cell", title_justify="left")
    table.add_column("name", overflow="fold", min_width=12)
    table.add_column("space group: sites", overflow="fold")
    for heading in COLUMNS:
        table.add_column(heading, justify="right")
    for one in found:
        own = one.evidence
        difference, error = difference_to(own, found[0].evidence)
        table.add_row(
            escape(one.name),
            escape(own.template),
            str(own.n_atoms),
            str(own.n_free),
            f"{own.log_z:.2f} ± {own.error:.2f}",
            f"{own.log_z_reverse:.2f} ± {own.error_reverse:.2f}",
            f"{own.occam:.1f}",
            f"{-own.template_energy:.2f}",
            f"{own.log_evidence:.2f}",
            f"{difference:+.2f} ± {error:.2f}" if one is not found[0] else "",
        )
    return table
