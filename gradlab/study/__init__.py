"""Studies: a specification becomes a plan, a plan runs into a folder, the folder is read as tables.

``spec`` (the TOML, checked; ``keys`` what may stand in it) → ``plan`` (configurations, ids, groups, cost) →
``measure`` (what a worker does) → ``parts`` (Parquet) → ``results`` (tables). ``run`` sees to it, with ``pools`` (where
groups run), ``progress``, ``interrupt``, ``claim`` (whose folder it is) and ``provenance``.
"""

from gradlab.study.plan import Configuration, Plan, make_plan
from gradlab.study.results import Results, load_results
from gradlab.study.spec import Spec
from gradlab.study.study import Study

__all__ = ["Configuration", "Plan", "Results", "Spec", "Study", "load_results", "make_plan"]
