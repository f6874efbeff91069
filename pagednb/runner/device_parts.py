"""All that a runner keeps on its device, and beside it on the host; dropping it frees the memory."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from pagednb.kv_cache.kv_store import KVStore
from pagednb.runner.batch_state import BatchState
from pagednb.runner.host_store import HostKVStore
from pagednb.sampling.sampler import Sampler

if TYPE_CHECKING:
    from pagednb.models.decoder import Decoder


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class DeviceParts:
    """The model, its cache, the rows of running requests, and what samples them.

    ``host_store`` is where blocks are swapped to; None if they never are.
    """

    model: Decoder
    kv_store: KVStore
    state: BatchState
    sampler: Sampler
    host_store: HostKVStore | None = None
