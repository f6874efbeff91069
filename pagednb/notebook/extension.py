"""``%load_ext pagednb`` and ``%unload_ext pagednb``: magics, settings, completions and ``df.llm`` come and go.

Loading touches no device and imports no torch. Unloading also unloads the engine, and gives back any magic of the same
name that was there before. The state lives in the shell's own registry, with the magics.
"""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell

from pagednb import runtime
from pagednb.dataframe import accessor
from pagednb.notebook.magics import PagednbMagics


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register ``%llm``, ``%generate``, ``%%generate`` and the pandas accessor. Safe to call again."""
    _remove_magics(shell)
    magics = PagednbMagics(shell)
    known = shell.magics_manager.magics
    magics.shadowed = {
        (kind, name): known[kind][name] for kind in magics.magics for name in magics.magics[kind] if name in known[kind]
    }
    shell.register_magics(magics)
    shell.configurables.append(magics.settings)
    magics.completer.hang_in()
    accessor.register()


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Undo ``load_ipython_extension`` and unload the engine, if one is loaded.

    What people made stays: their variables, computed rows, decisions of a review, and settings.
    """
    _remove_magics(shell)
    accessor.unregister()
    runtime.unload()


def _remove_magics(shell: InteractiveShell) -> None:
    """Take our magics out and put back what they hid; one that somebody registered over ours stays."""
    magics = shell.magics_manager.registry.pop(PagednbMagics.__name__, None)
    if magics is None:
        return
    for configurable in (magics, magics.settings):  # IPython puts the magics themselves there too
        shell.configurables.remove(configurable)
    magics.completer.take_out()
    known = shell.magics_manager.magics
    for kind, own in magics.magics.items():
        for name, function in own.items():
            if known[kind].get(name) == function:
                del known[kind][name]
                if (kind, name) in magics.shadowed:
                    known[kind][name] = magics.shadowed[kind, name]
