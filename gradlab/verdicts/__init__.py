"""Verdicts: on one layer of a pass, on several, on a study, on a training run. One word each, and three lines."""

from gradlab.verdicts.evidence import Evidence
from gradlab.verdicts.labels import WORDS
from gradlab.verdicts.of_study import study_verdict
from gradlab.verdicts.of_training import training_verdict
from gradlab.verdicts.suggestions import Suggestion
from gradlab.verdicts.verdict import Verdict, judge, together

__all__ = ["WORDS", "Evidence", "Suggestion", "Verdict", "judge", "study_verdict", "together", "training_verdict"]
