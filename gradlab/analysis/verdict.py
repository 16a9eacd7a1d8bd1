"""Verdicts: on one layer of a pass, on several, on a study, on a training run. One word each, and three lines."""

from gradlab.analysis.evidence import Evidence
from gradlab.analysis.judge import Verdict, judge, together
from gradlab.analysis.over_seeds import study_verdict
from gradlab.analysis.over_training import training_verdict
from gradlab.analysis.suggestions import Suggestion
from gradlab.analysis.words import WORDS

__all__ = ["WORDS", "Evidence", "Suggestion", "Verdict", "judge", "study_verdict", "together", "training_verdict"]
