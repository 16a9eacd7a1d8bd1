"""Tables for a paper: booktabs, ASCII, numbers and symbols in math, no package but booktabs.

What does not fit the page is broken: a table too wide goes on in another with its keys repeated, and so does one too
long; a column of sentences is a paragraph.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Hashable, Iterable, Iterator
from itertools import groupby

import numpy as np
import pandas as pd
from numpy.typing import NDArray

_GREEK = (
    *("alpha", "beta", "gamma", "delta", "varepsilon", "zeta", "eta", "theta", "iota", "kappa", "lambda", "mu", "nu"),
    *("xi", "pi", "rho", "sigma", "tau", "upsilon", "varphi", "chi", "psi", "omega"),
    *("Gamma", "Delta", "Theta", "Lambda", "Xi", "Pi", "Sigma", "Phi", "Psi", "Omega"),
)
_SIGNS = {
    "−": "-", "±": r"\pm ", "×": r"\times ", "·": r"\cdot ", "‖": r"\|", "|": "|", "<": "<", ">": ">", "⟨": r"\langle ",
    "⟩": r"\rangle ", "∂": r"\partial ", "∏": r"\prod ", "∑": r"\sum ", "√": r"\surd ", "∞": r"\infty ", "≤": r"\le ",
    "≥": r"\ge ", "≈": r"\approx ", "≠": r"\ne ", "≪": r"\ll ", "≫": r"\gg ", "∈": r"\in ", "→": r"\to ",
    "⊙": r"\odot ", "½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "°": r"^{\circ}", "′": "'",
}  # fmt: skip
#: What stands in math, by character.
MATH = _SIGNS | {letter: f"\\{name} " for letter, name in zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", _GREEK, strict=True)}
#: What stands in text, by character.
TEXT = {
    **{special: f"\\{special}" for special in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", '"': "''", "“": "``", "”": "''",
    "‘": "`", "’": "'", "„": ",,", "–": "--", "—": "---", "…": r"\ldots{}", "§": r"\S{}", "ß": r"\ss{}",
    "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}", "Æ": r"\AE{}", "ł": r"\l{}", "Ł": r"\L{}", "\u00a0": "~",
}  # fmt: skip
_ACCENTS = {"\u0300": "`", "\u0301": "'", "\u0302": "^", "\u0303": "~", "\u0308": '"', "\u030c": "v", "\u0327": "c"}
_SUB, _SUPER = "₀₁₂₃₄₅₆₇₈₉₊₋ₐₑᵢⱼₖₗₘₙₒₚᵣₛₜᵤᵥₓ", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱᵀ"
#: Numbers, powers, ‖J_t‖ and λ₁ are single words of math; all else goes character by character.
_WORD = re.compile(
    r"(?<![\w.])(?P<power>[\de]+)\^(?P<exponent>−?[\d.]*\d)"
    r"|(?<![\w.])(?P<number>−?\d+(?:\.\d+)?)(?:e(?P<decades>[+−-]?\d+))?(?!\w)"
    r"|(?<![A-Za-z0-9_])(?P<letter>[A-Za-z])(?:_(?P<index>[A-Za-z0-9]{1,2})(?![A-Za-z0-9_])|(?=[" + _SUB + r"]))"
    r"|(?<=∂)(?P<inner>[A-Za-z])"
    rf"|(?P<sub>[{_SUB}]+)|(?P<super>[{_SUPER}]+)|(?P<other>.)",
    re.DOTALL,
)
#: Characters in a line of article's 345 pt: of its own size, and of \footnotesize; a gap between columns takes three.
LINE, SMALL_LINE, GAP = 66, 84, 3
#: A column whose entries are longer than this may become a paragraph, but none narrower.
PARAGRAPH = 18
#: Lines of a table that a page holds beside its caption; a paragraph fills so much of its lines.
ROWS, BROKEN = 36, 0.7


def table(words: pd.DataFrame, *, keys: int, caption: str, label: str) -> str:
    """Return ``table`` environments that paste into a paper whose preamble has ``\\usepackage{booktabs}``.

    Parameters
    ----------
    words : the table as `gradlab.report.tabular.readable` tells it; a header's unit stands in a line of its own.
    keys : how many columns, from the left, say what a row is about: each part of a broken table has them. There is
        at least one more column, and a row.
    caption, label : plain text; the label gets ``tab:`` before it.
    """
    pages = list(_parts(words, keys))
    told = [caption, *[f"{caption.partition('. ')[0]}, continued"] * (len(pages) - 1)]
    marks = [f"\\label{{tab:{re.sub('[^A-Za-z0-9]+', '-', label)}}}", *[""] * (len(pages) - 1)]
    return "\n".join(
        _environment(page, caption=text(one), mark=mark) for page, one, mark in zip(pages, told, marks, strict=True)
    )


def text(words: str) -> str:
    """Return plain text as LaTeX in ASCII: ``−0.41`` as ``$-0.41$``, ``‖δ‖`` in math, a special character escaped."""
    pieces = [piece for match in _WORD.finditer(" ".join(words.split())) for piece in _pieces(match)]
    runs = ((math, "".join(word for _, word in run)) for math, run in groupby(pieces, key=lambda piece: piece[0]))
    return "".join(f"${_once(run.strip())}$" if math else run for math, run in runs)


def _pieces(match: re.Match[str]) -> Iterator[tuple[bool, str]]:
    """Yield whether it is math, and the LaTeX, of one word of `_WORD`."""
    found = {name: value for name, value in match.groupdict().items() if value}
    if "power" in found:
        yield True, f"{found['power']}^{{{_minus(found['exponent'])}}}"
    elif "number" in found:
        decades = f"\\times 10^{{{int(_minus(found['decades']))}}}" if "decades" in found else ""
        yield True, _minus(found["number"]) + decades
    elif "letter" in found:
        index = found.get("index", "")
        roman = f"\\mathrm{{{index}}}" if len(index) > 1 and index.isupper() else index
        yield True, found["letter"] + (f"_{{{roman}}}" if index else "")
    elif "inner" in found:
        yield True, found["inner"]
    elif "sub" in found or "super" in found:
        yield True, f"{'_' if 'sub' in found else '^'}{{{_level(match.group())}}}"
    else:
        yield _character(match.group())


def _character(one: str) -> tuple[bool, str]:
    if one in MATH:
        return True, MATH[one]
    if one in TEXT:
        return False, TEXT[one]
    if one.isascii():
        return False, one if one.isprintable() else " "
    parts = unicodedata.normalize("NFD", one)
    if parts[0].isascii() and parts[1:] in _ACCENTS:
        return False, f"\\{_ACCENTS[parts[1:]]}{{{parts[0]}}}"
    return False, f"[U+{ord(one):04X}]"  # better an odd word than a paper that does not compile


def _minus(number: str) -> str:
    return number.replace("−", "-")


def _level(scripts: str) -> str:
    return _minus(unicodedata.normalize("NFKC", scripts))


def _once(math: str) -> str:
    """Return math in which no symbol carries two indices of one kind, which TeX refuses."""
    return re.sub(r"([_^]\{[^{}]*\})(?=[_^]\{)", r"\1{}", math)


def _environment(words: pd.DataFrame, *, caption: str, mark: str) -> str:
    small = sum(_width(words, name) + GAP for name in words.columns) > LINE
    heads, units = zip(*map(_header, words.columns), strict=True)
    lines = [
        *(r"\begin{table}", r"\centering", *([r"\footnotesize"] if small else [])),
        *(f"\\caption{{{caption}}}{mark}", r"\smallskip"),
        *(f"\\begin{{tabular}}{{{_columns(words)}}}", r"\toprule", _row(heads)),
        *([_row(units)] if any(units) else []),
        *(r"\midrule", *(_row(map(str, row)) for row in words.to_numpy()), r"\bottomrule"),
        *(r"\end{tabular}", r"\end{table}", ""),
    ]
    return "\n".join(lines)


def _header(name: Hashable) -> tuple[str, str]:
    """Return a header in two lines: ``rate of ln‖δ‖`` and ``(nats/step), 95 % interval``."""
    found = re.fullmatch(r"(.+?)(?: (\(.*)|, (95 % .*))?", str(name), re.DOTALL)
    return (found[1], found[2] or found[3] or "") if found else (str(name), "")


def _row(entries: Iterable[str]) -> str:
    row = " & ".join(map(text, entries)) + r" \\"
    return "{}" + row if row[0] in "[*" else row  # which the line before would take as its option


def _columns(words: pd.DataFrame) -> str:
    """Return what each column is: r for numbers, l for words, a paragraph where the line does not hold them."""
    shares = _paragraphs(words)
    return "".join(
        f"p{{{shares[name]:.2f}\\textwidth}}" if name in shares else "r" if _numbers(words[name]) else "l"
        for name in words.columns
    )


def _paragraphs(words: pd.DataFrame) -> dict[Hashable, float]:
    """Return the columns that the line does not hold unbroken, and the share of it that each gets."""
    widths = {name: _width(words, name) for name in words.columns}
    wide = {name: width for name, width in widths.items() if width > PARAGRAPH and not _numbers(words[name])}
    if sum(widths.values()) + GAP * len(widths) <= SMALL_LINE:
        return {}
    left = SMALL_LINE - GAP * len(widths) - sum(width for name, width in widths.items() if name not in wide)
    return {name: max(left * width / sum(wide.values()), PARAGRAPH / 2) / SMALL_LINE for name, width in wide.items()}


def _parts(words: pd.DataFrame, keys: int) -> Iterator[pd.DataFrame]:
    """Yield the table in parts that a page holds: its keys and as many other columns and rows as go."""
    names = list(words.columns)
    fixed, rest = names[:keys], names[keys:]
    while rest:
        taken = 1
        while taken < len(rest) and _least(words[[*fixed, *rest[: taken + 1]]]) <= SMALL_LINE:
            taken += 1
        part, rest = words[[*fixed, *rest[:taken]]], rest[taken:]
        yield from (rows for _, rows in part.groupby(_page(part)))


def _page(words: pd.DataFrame) -> NDArray[np.int64]:
    """Return on which page each row stands, by the lines that its longest paragraph takes."""
    lines = np.ones(len(words))
    for name, share in _paragraphs(words).items():
        lines = np.maximum(lines, np.ceil(words[name].str.len() / (BROKEN * share * SMALL_LINE)))
    return np.asarray((lines.cumsum() - 1) // ROWS, dtype=np.int64)


def _least(words: pd.DataFrame) -> int:
    """Return the characters of a line that a table takes at least, its words broken into paragraphs."""
    most = {name: _width(words, name) for name in words.columns}
    return sum(GAP + (n if _numbers(words[name]) else min(n, PARAGRAPH)) for name, n in most.items())


def _width(words: pd.DataFrame, name: Hashable) -> int:
    return max(len(entry) for entry in (*_header(name), *map(str, words[name])))


def _numbers(column: pd.Series) -> bool:
    """Return whether a column holds numbers and their intervals alone."""
    return all(re.fullmatch(r"[−\d.,\[\] e+^<∞—±-]*", str(entry)) for entry in column)
