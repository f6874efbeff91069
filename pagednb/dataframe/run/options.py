"""The options that every verb takes beside its own: what runs and is shown, what happens to long rows, what is kept."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from pagednb import runtime
from pagednb.dataframe.kept.cache_file import CacheFile
from pagednb.dataframe.kept.checkpoint import Checkpoint, CheckpointFolder
from pagednb.dataframe.kept.kept_rows import KeptRows, model_identity
from pagednb.dataframe.kept.result_cache import MemoryCache, ResultCache
from pagednb.dataframe.prompts.sample import RowSample
from pagednb.dataframe.prompts.truncation import TruncateOption, check_truncate
from pagednb.dataframe.run.progress import ProgressOption
from pagednb.errors import OptionError

if TYPE_CHECKING:
    from pagednb.engine.llm_engine import LLMEngine

CacheOption = bool | str | os.PathLike[str]
CheckpointOption = str | os.PathLike[str] | Checkpoint | None
_CACHE = "result_cache"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions:
    """Options of a run.

    Attributes:
        sample: the rows of a trial run; None for all.
        truncate: what to do with a row that is too long: "error", or cut its values at "left" (the beginning goes),
            "right" (the end goes) or in the "middle".
        cache: True: answers are kept in memory, False: not, a path: in that file. Only deterministic answers are kept.
        checkpoint: a folder that keeps rows as they are done, or a ``Checkpoint`` to say how often.
        background: the verb returns a ``Job`` at once.
        progress: True or False for a bar, a callable for figures, None for what the environment says.

    Raises:
        OptionError: a value of another kind, or ``progress=True`` in the background.
    """

    sample: RowSample | None = None
    truncate: TruncateOption = "error"
    cache: CacheOption = True
    checkpoint: CheckpointOption = None
    background: bool = False
    progress: ProgressOption = None

    def __post_init__(self) -> None:
        check_truncate(self.truncate)
        if not isinstance(self.cache, (bool, str, os.PathLike)):
            raise OptionError(f"cache={self.cache!r} is not valid.", hint="Use True, False, or the path of a file.")
        if not isinstance(self.checkpoint, (str, os.PathLike, Checkpoint, type(None))):
            raise OptionError(f"checkpoint={self.checkpoint!r} is not valid.", hint="Use the path of a folder.")
        if not isinstance(self.background, bool):
            raise OptionError(f"background={self.background!r} is not valid.", hint="Use True or False.")
        if self.background and self.progress:
            raise OptionError(
                "A run in the background shows nothing by itself.",
                hint="Leave out progress=, and look at job.progress.",
            )

    @contextlib.contextmanager
    def kept_rows(
        self, engine: LLMEngine, spec: Mapping[str, Any], *, task: str, is_deterministic: bool
    ) -> Iterator[KeptRows]:
        """Open what this run may take answers from, and close it afterwards.

        Raises:
            CheckpointError: the checkpoint is another run's.
            OptionError: a file or folder that cannot be used.
        """
        model = model_identity(engine)
        with contextlib.ExitStack() as stack:
            cache: ResultCache | None = None
            if is_deterministic and self.cache is True:
                cache = _memory()
            elif is_deterministic and not isinstance(self.cache, bool):
                cache = stack.enter_context(CacheFile(self.cache))
            yield KeptRows(
                cache=cache,
                checkpoint=self._open_checkpoint({**spec, "model_identity": model}),
                is_shared=is_deterministic,
                model=model,
                task=task,
            )

    def _open_checkpoint(self, spec: Mapping[str, Any]) -> CheckpointFolder | None:
        if self.checkpoint is None:
            return None
        options = self.checkpoint if isinstance(self.checkpoint, Checkpoint) else Checkpoint(self.checkpoint)
        return CheckpointFolder(options, spec)


def _memory() -> MemoryCache:
    cache: MemoryCache = runtime.kept(_CACHE, MemoryCache)
    cache.begin_run()
    return cache
