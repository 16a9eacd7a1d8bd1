"""Verdicts on one layer of a pass, on several layers, on a training and on a study: one word each, and three lines.

The verdicts on trainings and studies load pandas; they are in :mod:`gradlab.verdicts.of_training` and
:mod:`gradlab.verdicts.of_study`.
"""

from gradlab.verdicts.evidence import Evidence
from gradlab.verdicts.labels import WORDS
from gradlab.verdicts.suggestions import Suggestion
from gradlab.verdicts.verdict import Verdict, judge, together

__all__ = ["WORDS", "Evidence", "Suggestion", "Verdict", "judge", "together"]
