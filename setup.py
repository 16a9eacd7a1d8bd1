"""What pyproject.toml cannot say: the elementwise formulas in C, left out where there is no compiler."""

import sys

import numpy as np
from setuptools import Extension, setup

FLAGS = [] if sys.platform == "win32" else ["-O3", "-fno-math-errno", "-fno-trapping-math"]
setup(
    ext_modules=[
        Extension(
            "gradlab.native._steps",
            ["gradlab/native/_steps.c"],
            depends=[f"gradlab/native/{name}.h" for name in ("formulas", "loop", "lanczos", "gram_schmidt")],
            include_dirs=[np.get_include()],
            extra_compile_args=FLAGS,
            optional=True,
        )
    ]
)
