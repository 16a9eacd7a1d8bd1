"""LaTeX by its text, by its structure, and, where there is a LaTeX, by its compiling without a complaint."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gradlab.report import latex
from gradlab.report.latex import CHARACTERS, MATH, ROWS, text

WORDS = pd.DataFrame(
    {
        "cell": ["rnn", "[new] a_bcd"],
        "init scale g": ["0.5", "1"],
        "rate of ln‖δ‖ (nats/step), 95 % interval": ["−0.412 [−0.431, −0.393]", "—"],
    }
)
GOLDEN = r"""\begin{table}
\centering
\caption{$50$ \% less \& more.}
\smallskip
\label{tab:init-scale-rates}
\begin{tabular}{lrr}
\toprule
cell & init scale g & rate of ln\ensuremath{\Vert}\ensuremath{\delta}\ensuremath{\Vert} \\
 &  & (nats/step), $95$ \% interval \\
\midrule
rnn & $0.5$ & $-0.412$ [$-0.431$, $-0.393$] \\
{}[new] a\_bcd & $1$ & {\textemdash} \\
\bottomrule
\end{tabular}
\end{table}
"""
#: What a study may hold, and more.
NASTY = (
    r"a&b 100% $5 #1 x_y {z} ~ ^ \end{table} \\ [3pt] * < > | “q” ‘s’ „l“ … § ° é Č ß Łø € ☃ 你 κατ ‖J_t‖₂ λ₁₂ x₁₂² "
    "b_f₁ D_KY W_hh ∂Lₜ/∂sₛ ½ √ ∞ ± × · ≤ ≥ ≈ ≠ → ⟨a, b⟩ ∏(1−z) Σ∑ 10^−18 e^−87.3 1e−05 1e+300 −0.5 a−b −∞ 2.13.0"
)
PREAMBLE = "\\documentclass{article}\n\\usepackage{booktabs}\n\\begin{document}\n"


def assert_well_made(document: str) -> None:
    """Check that every row has as many columns as its table, that braces and dollars pair up, and that all is ASCII."""
    assert document.isascii()
    bare = re.sub(r"\\[\\{}$&%#_]", "", document)
    assert bare.count("{") == bare.count("}")
    assert bare.count("$") % 2 == 0
    tables = re.findall(r"\\begin\{tabular\}\{([^\n]*)\}\n(.*?)\\end\{tabular\}", document, re.DOTALL)
    assert len(tables) == document.count(r"\begin{table}") == document.count(r"\caption{") > 0
    for columns, body in tables:
        count = len(re.sub(r"p\{[^}]*\}", "p", columns))
        rows = [line for line in body.splitlines() if not line.startswith((r"\toprule", r"\midrule", r"\bottomrule"))]
        assert rows
        for row in rows:
            assert row.endswith(r" \\")
            assert not row.startswith(("[", "*"))
            assert len(re.findall(r"(?<!\\)&", row)) == count - 1


def assert_compiles(document: str, folder: Path) -> None:
    """Check that a paper with these tables compiles and none is wider or longer than its page."""
    if shutil.which("pdflatex") is None:
        pytest.skip("there is no pdflatex")
    (folder / "paper.tex").write_text(PREAMBLE + document + "\\end{document}\n", encoding="ascii")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace", check=False)
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Overfull" not in run.stdout, run.stdout[-2000:]
    assert "Float too large" not in run.stdout


def test_a_small_table() -> None:
    found = latex.table(WORDS, keys=2, caption="50 % less & more.", label="init_scale-rates")
    assert found == GOLDEN
    assert_well_made(found)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("−0.412 [−0.431, −0.393]", "$-0.412$ [$-0.431$, $-0.393$]"),
        ("−0.41 ± 0.02", r"$-0.41$ \ensuremath{\pm} $0.02$"),
        ("λ₁ ½ ln χ", r"\ensuremath{\lambda}\ensuremath{_1} \ensuremath{\frac{1}{2}} ln \ensuremath{\chi}"),
        (
            "ln‖δₖ‖ − ln‖δ₁‖",
            (
                r"ln\ensuremath{\Vert}\ensuremath{\delta}\ensuremath{_k}\ensuremath{\Vert} \ensuremath{-} "
                r"ln\ensuremath{\Vert}\ensuremath{\delta}\ensuremath{_1}\ensuremath{\Vert}"
            ),
        ),
        (
            "ln‖∂Lₜ/∂sₛ‖",
            (
                r"ln\ensuremath{\Vert}\ensuremath{\partial}$L$\ensuremath{_t}/"
                r"\ensuremath{\partial}$s$\ensuremath{_s}\ensuremath{\Vert}"
            ),
        ),
        (
            "median ‖J_t‖₂, D_KY, b_f",
            r"median \ensuremath{\Vert}$J_{t}$\ensuremath{\Vert}\ensuremath{_2}, $D_{\mathrm{KY}}$, $b_{f}$",
        ),
        ("init.forget_bias float64", r"init.forget\_bias float64"),
        ("10^−18, 1e−05, 1e+300", r"$10^{-18}$, $1\times 10^{-5}$, $1\times 10^{300}$"),
        ("< 0.001", r"\ensuremath{<} $0.001$"),
        (
            "a|b & 5 % #_{}~^\\",
            r"a\ensuremath{|}b \& $5$ \% \#\_\{\}{\textasciitilde}{\textasciicircum}{\textbackslash}",
        ),
        ("$−1$", r"\$$-1$\$"),
        ("Müller–Čech\n☃", r"M\"uller{\textendash}\v{C}ech \ensuremath{\langle}\texttt{U+2603}\ensuremath{\rangle}"),
        ("b_f₁₂", r"$b_{f}$\ensuremath{_1}\ensuremath{_2}"),
    ],
)
def test_text(words: str, expected: str) -> None:
    assert text(words) == expected


@given(st.text())
def test_any_text_is_ascii_and_pairs_up(words: str) -> None:
    table = pd.DataFrame({"a": [words, "b"], words or "c": ["1", words]})
    assert_well_made(latex.table(table, keys=1, caption=words, label=words))


def test_a_wide_table_goes_on_with_its_keys() -> None:
    wide = pd.DataFrame(
        {"cell": ["rnn"], **{f"measure {i} (nats/step)": ["−0.412 [−0.431, −0.393]"] for i in range(8)}}
    )
    found = latex.table(wide, keys=1, caption="What was recorded. Much.", label="x")
    assert_well_made(found)
    assert found.count(r"\begin{table}") == 4
    assert found.count("\ncell & ") == 4
    assert found.count("0.412") == 8
    assert found.count(r"\label{tab:x}") == 1
    assert found.count(r"\caption{What was recorded, continued}") == 3


def test_a_long_table_goes_on_too() -> None:
    long = pd.DataFrame({"seed": [str(i) for i in range(2 * ROWS + 1)], "rate": "0.1"})
    found = latex.table(long, keys=1, caption="All.", label="x")
    assert found.count(r"\begin{table}") == 3
    assert found.count("$0.1$") == 2 * ROWS + 1


def test_sentences_are_paragraphs_where_the_line_does_not_hold_them() -> None:
    told = pd.DataFrame({"cell": ["rnn"], "reason": ["a long story " * 6], "source": ["another one " * 8], "n": ["5"]})
    assert re.search(r"\{tabular\}\{lp\{0\.\d\d\\textwidth\}p\{0\.\d\d\\textwidth\}r\}", latex_of(told))
    assert "{tabular}{ll}" in latex_of(told[["cell", "n"]].assign(n="short"))


def latex_of(words: pd.DataFrame) -> str:
    return latex.table(words, keys=1, caption="c", label="l")


def test_whatever_a_study_holds_compiles(tmp_path: Path) -> None:
    words = NASTY.split(" ")
    table = pd.DataFrame({NASTY[:40]: words, "as (a_b)": words[::-1]})
    document = GOLDEN + latex.table(table, keys=1, caption=NASTY, label=NASTY)
    assert_well_made(document)
    assert_compiles(document, tmp_path)


def test_every_character_in_the_tables_compiles(tmp_path: Path) -> None:
    assert_compiles("\n\n".join(f"x{text(one)}y" for one in (*CHARACTERS, *MATH, "„")), tmp_path)
