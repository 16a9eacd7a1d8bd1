"""The hooks. A new one is one file in this folder and one line in :data:`HOOKS`."""

from collections.abc import Iterable

from gradlab.errors import InputError, unknown
from gradlab.hooks.base import Hook, Info, Step, TableHook
from gradlab.hooks.contributions import ContributionsHook
from gradlab.hooks.gates import GatesHook
from gradlab.hooks.gradients import GradientsHook
from gradlab.hooks.jacobians import JacobiansHook
from gradlab.hooks.lyapunov import LyapunovHook
from gradlab.hooks.paths import PathsHook
from gradlab.hooks.sensitivity import SensitivityHook
from gradlab.hooks.temporal import TemporalHook

HOOKS: dict[str, type[Hook]] = {
    "gradients": GradientsHook,
    "jacobians": JacobiansHook,
    "gates": GatesHook,
    "lyapunov": LyapunovHook,
    "paths": PathsHook,
    "contributions": ContributionsHook,
    "temporal": TemporalHook,
    "sensitivity": SensitivityHook,
}


def make_hook(name: str) -> Hook:
    """Return a built-in hook by its name, which may have one argument: ``"jacobians:all"``.

    Raises
    ------
    InputError
        for an unknown name, or an argument that the hook does not take.
    """
    key, colon, argument = name.partition(":")
    if key not in HOOKS:
        raise InputError(unknown("hook", key, HOOKS))
    if not colon:
        return HOOKS[key]()
    if HOOKS[key].__init__ is object.__init__:
        raise InputError(f'hook "{key}" takes no argument, got "{name}"')
    return HOOKS[key](argument)  # type: ignore[call-arg]


def make_hooks(hooks: Iterable[Hook | str]) -> list[Hook]:
    """Return hooks, given as objects or by name, as objects.

    Raises
    ------
    InputError
        for anything that is not a hook, and for a hook that measures nothing.
    """
    if isinstance(hooks, str):
        raise InputError(f'hooks must be a list, got "{hooks}"; write hooks=["{hooks}"]')
    made = [make_hook(hook) if isinstance(hook, str) else hook for hook in hooks]
    for hook in made:
        if not isinstance(hook, Hook):
            raise InputError(f"a hook must be a gl.Hook or the name of one, got {type(hook).__name__}")
        _check_measures(hook)
    return made


def _check_measures(hook: Hook) -> None:
    """Raise an InputError for a hook that overrides no method that measures, as after a misspelt name."""
    base, names = (TableHook, ("measure",)) if isinstance(hook, TableHook) else (Hook, ("step", "segment", "forward"))
    methods = [getattr(getattr(hook, name), "__func__", None) for name in names]
    if methods == [getattr(base, name) for name in names]:
        own = [name for name in vars(type(hook)) if not name.startswith("_")]
        raise InputError(
            f"hook {type(hook).__name__} measures nothing: define {' or '.join(names)}"
            + (f"; it defines {', '.join(own)}" if own else "")
        )


__all__ = ["HOOKS", "Hook", "Info", "Step", "make_hook", "make_hooks"]
