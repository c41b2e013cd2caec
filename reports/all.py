"""The catalogue filled: whoever imports this has every report. Reports know the catalogue; it knows none of them.

A new report is a module with a `REPORT`, and a word in the list below.
"""

from reports import assessment, bulletins, dossier, dscsa, fsma204, integrity, recall_report
from reports.catalogue import REPORTS, register, report_of

for _report in (
    dossier.REPORT, recall_report.REPORT, integrity.REPORT, bulletins.DAILY, bulletins.WEEKLY, bulletins.MONTHLY,
    assessment.REPORT, fsma204.REPORT, dscsa.REPORT,
):  # fmt: skip
    register(_report)

__all__ = ["REPORTS", "report_of"]
