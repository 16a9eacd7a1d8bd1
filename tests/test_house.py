"""Imports go down the floors of the house, within a floor from right to left, and never in a circle."""

import ast
from collections.abc import Iterable
from graphlib import TopologicalSorter
from pathlib import Path

import gradlab

ROOT = Path(gradlab.__file__).parent
FLOORS = [
    ("errors", "files", "memory", "cores", "checks", "workspace", "scaled", "schema", "initialise"),
