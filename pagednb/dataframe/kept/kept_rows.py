"""What one run knows from earlier ones and keeps for later ones: its result cache and its checkpoint, as one thing.

The row job asks before it computes a row and tells when one is done. Without cache and checkpoint it keeps nothing.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from pagednb.dataframe.kept.result_cache import ResultCache, answer_key
from pagednb.dataframe.kept.stored_answer import pack_answer, unpack_answer

if TYPE_CHECKING:
    from pagednb.dataframe.kept.checkpoint import CheckpointFolder
    from pagednb.engine.llm_engine import LLMEngine
    from pagednb.outputs import RequestOutput

Answer = list["RequestOutput"]


class KeptRows:
    """Answers of other runs, by prompt.

    ``is_shared``: equal prompts have equal answers; only then the cache is used. ``model`` and ``task`` name what an
    answer depends on beside the prompt's tokens.
    """

    def __init__(
        self,
        *,
        cache: ResultCache | None = None,
        checkpoint: CheckpointFolder | None = None,
        is_shared: bool = True,
        model: str = "",
        task: str = "",
    ) -> None:
        self._cache = cache if is_shared else None
        self._checkpoint = checkpoint
        self._is_shared = is_shared
        self._model = model
        self._task = task
        self.fault: str | None = None  # why something is not kept any more, to be told when the run is over
        # of rows under way
        self._position_to_prompt: dict[int, bytes] = {}
        self._position_to_key: dict[int, bytes] = {}

    def cache_alone(self) -> KeptRows:
        """Return the same without the checkpoint: for prompts that are no rows of the frame."""
        return KeptRows(cache=self._cache, is_shared=self._is_shared, model=self._model, task=self._task)

    @property
    def will_resume(self) -> bool:
        """Whether the same run started again finds the rows of this one."""
        return self._cache is not None or self._checkpoint is not None

    def resume(self, position: int, prompt: str) -> Answer | None:
        """Return what the checkpoint holds for a row."""
        if self._checkpoint is None:
            return None
        digest = hashlib.sha256(prompt.encode("utf-8", errors="surrogatepass")).digest()
        answer = self._checkpoint.take(position, digest, is_shared=self._is_shared)
        if answer is not None:
            with contextlib.suppress(ValueError, LookupError, TypeError):  # somebody else wrote it: computed again
                return unpack_answer(answer)
        self._position_to_prompt[position] = digest
        return None

    def recall(self, position: int, prompts: Sequence[np.ndarray]) -> Answer | None:
        """Return what the cache holds for a row with these prompts (tokens each); the checkpoint gets it too."""
        if self._cache is None:
            return None
        key = answer_key(prompts, model=self._model, task=self._task)
        data = self._cache.get(key)
        if data is None:
            self._position_to_key[position] = key
            return None
        answer = unpack_answer(data)
        self._add_to_checkpoint(position, answer, None)
        return answer

    def keep(self, position: int, answer: Answer) -> None:
        """Take a computed row's answer."""
        key = self._position_to_key.pop(position, None)
        if self._cache is not None and key is not None:
            try:
                self._cache.put(key, pack_answer(answer))
            except OSError as error:
                self._cache = None
                self.fault = f"The cache could not be written any more: {error}"
        self._add_to_checkpoint(position, answer, None)

    def keep_failure(self, position: int, reason: str) -> None:
        """Take note that a row failed; it is computed again by the next run."""
        self._position_to_key.pop(position, None)
        self._add_to_checkpoint(position, None, reason)

    def write_if_due(self) -> None:
        """Let the checkpoint write by its clock."""
        if self._checkpoint is not None:
            self._try(self._checkpoint.write_if_due)

    def write(self) -> None:
        """Write all that is kept; called once at the end of a run, whatever ended it."""
        if self._checkpoint is not None:
            self._try(self._checkpoint.write)

    def _add_to_checkpoint(self, position: int, answer: Answer | None, reason: str | None) -> None:
        prompt = self._position_to_prompt.pop(position, None)
        if self._checkpoint is not None and prompt is not None:
            self._try(functools.partial(self._checkpoint.add, position, prompt, answer, reason))

    def _try(self, write: Callable[[], None]) -> None:
        """A full disk, or a folder that is gone, ends the checkpoint and not the run."""
        try:
            write()
        except OSError as error:
            self._checkpoint = None
            self.fault = f"The checkpoint could not be written any more: {error}"


def model_identity(engine: LLMEngine) -> str:
    """Return a text that differs whenever answers of the loaded model may: name, revision, dtype, files, tokenizer.

    A local folder's files count by name, size and time, so that training into the same folder is noticed.
    """
    resolved, config = engine.resolved, engine.config
    parts = [resolved.identity, f"load_format={config.load_format}", f"tokenizer={config.tokenizer}"]
    if resolved.revision is None:
        files = sorted(path for path in resolved.folder.iterdir() if path.is_file())
        facts = [f"{path.name}:{path.stat().st_size}:{path.stat().st_mtime_ns}" for path in files]
        parts.append(f"files={hashlib.sha256(chr(10).join(facts).encode()).hexdigest()[:16]}")
    return " ".join(parts)
