"""Studies: a specification becomes a plan, a plan runs into a folder, the folder is read as tables.

``spec`` checks the TOML file against ``keys``. ``plan`` makes configurations, ids and groups, and ``budget`` estimates
their cost. ``worker`` measures a group, ``store`` keeps its rows as Parquet files, and ``results`` reads the tables.
``run`` drives this with ``executors`` (processes), ``interrupt`` (Ctrl-C), ``lock`` (one runner per folder) and
``provenance``.
"""

from gradlab.study.plan import Configuration, Plan, make_plan
from gradlab.study.results import Results, load_results
from gradlab.study.spec import Spec
from gradlab.study.study import Study

__all__ = ["Configuration", "Plan", "Results", "Spec", "Study", "load_results", "make_plan"]
