"""gradlab: what gradients do on their way back through time in recurrent networks.

Data flows one way: a *cell* runs forward and leaves a tape, the backward pass walks the tape, *trace* answers
questions about both, *hooks* measure during it, a *study* repeats it over a grid and leaves tables, and analysis
turns tables into rates, verdicts and figures. ``__init__.pyi`` lists the public names; each is loaded on first use.
"""

import lazy_loader as _lazy

__version__ = "0.1.0"

_load, _, _names = _lazy.attach_stub(__name__, __file__)
__all__ = ["__version__", *_names]


def __getattr__(name: str) -> object:
    if name in _names:
        return _load(name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{_hint(name)}", name=name)


def __dir__() -> list[str]:
    return sorted(__all__)


def _hint(name: str) -> str:
    """Return ``; did you mean 'LSTM'?`` for ``lsmt``; nothing if no name is near."""
    from difflib import get_close_matches

    folded = {known.casefold(): known for known in _names}
    near = get_close_matches(name.casefold(), folded, n=1, cutoff=0.7)
    return f"; did you mean {folded[near[0]]!r}?" if near else ""
