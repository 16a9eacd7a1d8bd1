"""Tables for a paper: booktabs, ASCII, numbers and symbols in math, no package but booktabs.

A table that is too wide or too long for a page is split; each part repeats the key columns. Long text is a paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterator

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pylatexenc import latexencode
from pylatexenc.latexencode import RULE_DICT, RULE_REGEX, UnicodeToLatexConversionRule

#: Characters whose LaTeX in pylatexenc compiles without a package; half of its table does not.
CHARACTERS = (
    '\\&%$#_{}~^<>"\u00a0−±‖⟨⟩∂∏∑√∞≤≥≈≠≪≫∈⊙′–—…§“”‘’ßøØæÆåÅłŁ₀₁₂₃₄₅₆₇₈₉₊₋ₐₑₖₗₘₙₒₚₛₜₓ⁰⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ'
    "αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩáàâäãāéèêëēíìîïóòôöõőúùûüūűñńňçćčšśžźżřýğÁÀÂÄÃÉÈÊËÍÓÒÔÖÕÚÙÛÜÑÇĆČŠŚŽŹŻŘÝ"
)
#: Further characters in math, which pylatexenc lacks or writes with macros of a package.
MATH = {
    "|": "|",
    "×": r"\times",
    "·": r"\cdot",
    "→": r"\to",
    "½": r"\frac{1}{2}",
    "¼": r"\frac{1}{4}",
    "°": r"^{\circ}",
}
MATH |= {"¹": "^1", "²": "^2", "³": "^3", "ᵀ": "^T", "ᵢ": "_i", "ⱼ": "_j", "ᵣ": "_r", "ᵤ": "_u", "ᵥ": "_v"}
#: Words of math: powers, numbers, a letter with an index or after ∂.
_WORDS = [
    (re.compile(r"(?<![\w.])([\de]+)\^(−?[\d.]*\d)"), lambda m: _math(f"{m[1]}^{{{m[2]}}}")),
    (
        re.compile(r"(?<![\w.])(−?\d+(?:\.\d+)?)(?:e\+?([−-]?)0*(\d+))?(?!\w)"),
        lambda m: _math(m[1] + (f"\\times 10^{{{m[2]}{m[3]}}}" if m[3] else "")),
    ),
    (
        re.compile(r"(?<![A-Za-z0-9_])([A-Za-z])_([A-Za-z0-9]{1,2})(?![A-Za-z0-9_])"),
        lambda m: _math(f"{m[1]}_{{\\mathrm{{{m[2]}}}}}" if len(m[2]) > 1 and m[2].isupper() else f"{m[1]}_{{{m[2]}}}"),
    ),
    (re.compile(r"(?<=∂)[A-Za-z]|(?<![A-Za-z0-9_])[A-Za-z](?=[₀-ₜᵢⱼᵣᵤᵥ])"), lambda m: _math(m[0])),
]


def _math(text: str) -> str:
    return f"${text.replace('−', '-')}$"


_BUILT_IN = latexencode.get_builtin_uni2latex_dict()
_ENCODER = latexencode.UnicodeToLatexEncoder(
    conversion_rules=[
        UnicodeToLatexConversionRule(RULE_REGEX, _WORDS),
        UnicodeToLatexConversionRule(
            RULE_DICT,
            {ord(one): _BUILT_IN[ord(one)] for one in CHARACTERS}
            | {ord("„"): ",,"}
            | {ord(one): f"\\ensuremath{{{latex}}}" for one, latex in MATH.items()},
        ),
    ],
    unknown_char_policy="unihex",  # an odd word is better than a paper that does not compile
    unknown_char_warning=False,
)
#: Characters in a line of article's 345 pt: in its own size, and in \footnotesize; a gap between columns takes three.
LINE, SMALL_LINE, GAP = 66, 84, 3
#: A column with longer entries than this may become a paragraph, which is never narrower.
PARAGRAPH = 18
#: Lines of a table on one page, without its caption; the share of a paragraph's lines that its words fill.
ROWS, BROKEN = 36, 0.7


def table(words: pd.DataFrame, *, keys: int, caption: str, label: str) -> str:
    """Return ``table`` environments that paste into a paper whose preamble has ``\\usepackage{booktabs}``.

    Parameters
    ----------
    words : DataFrame
        The table as `gradlab.report.tabular.readable` returns it; a header's unit gets a line of its own. It has at
        least one row, and one column more than ``keys``.
    keys : int
        The number of columns, from the left, that identify a row; every part of a split table repeats them.
    caption, label : str
        Plain text; the label gets the prefix ``tab:``.
    """
    first, *others = _parts(words, keys)
    mark = re.sub("[^A-Za-z0-9]+", "-", label)
    continued = f"{caption.partition('. ')[0]}, continued"
    return "\n".join([_environment(first, caption, f"tab:{mark}"), *(_environment(part, continued) for part in others)])


def text(words: str) -> str:
    """Return plain text as LaTeX in ASCII: ``−0.41`` as ``$-0.41$``, symbols in math, special characters escaped."""
    encoded: str = _ENCODER.unicode_to_latex(" ".join(words.split()))
    return encoded


def _environment(words: pd.DataFrame, caption: str, label: str | None = None) -> str:
    small = sum(_width(words, name) + GAP for name in words.columns) > LINE
    heads, units = ([text(line) for line in lines] for lines in zip(*map(_header, words.columns), strict=True))
    shown = words.astype(str).map(text)
    first = shown.iloc[:, 0]
    bare = first.str.match(r"[\[*]")  # TeX would read it as an option of the line before
    shown.isetitem(0, first.where(~bare, "{}" + first).tolist())
    shown.columns = pd.MultiIndex.from_arrays([heads, units]) if any(units) else pd.Index(heads)
    commands = ["smallskip", *(["footnotesize"] if small else [])]
    style = shown.style.set_table_styles([{"selector": command, "props": ": ;"} for command in commands])
    found: str = style.hide(axis="index").to_latex(
        hrules=True,
        column_format=_columns(words),
        caption=text(caption) or "{}",
        label=label,
        position_float="centering",
        sparse_columns=False,
    )
    return found


def _header(name: Hashable) -> tuple[str, str]:
    """Split a header into two lines: ``rate of ln‖δ‖`` and ``(nats/step), 95 % interval``."""
    found = re.fullmatch(r"(.+?)(?: (\(.*)|, (95 % .*))?", str(name), re.DOTALL)
    return (found[1], found[2] or found[3] or "") if found else (str(name), "")


def _columns(words: pd.DataFrame) -> str:
    """Return the format of the columns: r for numbers, l for words, p for words that do not fit the line."""
    shares = _paragraphs(words)
    return "".join(
        f"p{{{shares[name]:.2f}\\textwidth}}" if name in shares else "r" if _numbers(words[name]) else "l"
        for name in words.columns
    )


def _paragraphs(words: pd.DataFrame) -> dict[Hashable, float]:
    """Return the columns that must be paragraphs to fit the line, and the share of the line for each."""
    widths = {name: _width(words, name) for name in words.columns}
    wide = {name: width for name, width in widths.items() if width > PARAGRAPH and not _numbers(words[name])}
    if sum(widths.values()) + GAP * len(widths) <= SMALL_LINE:
        return {}
    left = SMALL_LINE - GAP * len(widths) - sum(width for name, width in widths.items() if name not in wide)
    return {name: max(left * width / sum(wide.values()), PARAGRAPH / 2) / SMALL_LINE for name, width in wide.items()}


def _parts(words: pd.DataFrame, keys: int) -> Iterator[pd.DataFrame]:
    """Yield parts that fit a page: the key columns with as many other columns and rows as possible."""
    names = list(words.columns)
    fixed, rest = names[:keys], names[keys:]
    while rest:
        taken = 1
        while taken < len(rest) and _least(words[[*fixed, *rest[: taken + 1]]]) <= SMALL_LINE:
            taken += 1
        part, rest = words[[*fixed, *rest[:taken]]], rest[taken:]
        yield from (rows for _, rows in part.groupby(_page(part)))


def _page(words: pd.DataFrame) -> NDArray[np.int64]:
    """Return the page of each row, from the number of lines of its longest paragraph."""
    lines = np.ones(len(words))
    for name, share in _paragraphs(words).items():
        lines = np.maximum(lines, np.ceil(words[name].str.len() / (BROKEN * share * SMALL_LINE)))
    return np.asarray((lines.cumsum() - 1) // ROWS, dtype=np.int64)


def _least(words: pd.DataFrame) -> int:
    """Return the smallest width of a table in characters, with paragraphs as narrow as allowed."""
    most = {name: _width(words, name) for name in words.columns}
    return sum(GAP + (n if _numbers(words[name]) else min(n, PARAGRAPH)) for name, n in most.items())


def _width(words: pd.DataFrame, name: Hashable) -> int:
    return max(len(entry) for entry in (*_header(name), *map(str, words[name])))


def _numbers(column: pd.Series) -> bool:
    """Return whether a column holds only numbers and their intervals."""
    return all(re.fullmatch(r"[−\d.,\[\] e+^<∞—±-]*", str(entry)) for entry in column)
