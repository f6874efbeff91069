"""The proof: the model inside the package is loaded and answers."""

from __future__ import annotations

import time

from pagednb.doctor.finding import Finding
from pagednb.errors import PagednbError

_PROMPT = "What can pagednb do?"


def self_test_findings() -> list[Finding]:
    """Load, ask, and end."""
    from pagednb.llm import LLM
    from pagednb.sampling_params import SamplingParams

    begin_s = time.perf_counter()
    try:
        with LLM(max_num_seqs=4, num_gpu_blocks_override=64) as llm:
            params = SamplingParams(temperature=0, max_tokens=8)
            (output,) = llm.chat([{"role": "user", "content": _PROMPT}], params, use_tqdm=False)
            device = llm.engine.resolved.device
    except PagednbError as error:
        return [Finding(f"The model inside does not run: {error.message}", error.hint or "See the message.")]
    except Exception as error:  # noqa: BLE001  (the patient may have anything: the doctor says what, and goes on)
        return [Finding(f"The model inside does not run: {type(error).__name__}: {error}", "See the lines above.")]
    if not output.text:
        return [Finding("The model inside says nothing", "Install pagednb again.")]
    return [Finding(f"the model inside answers on {device}, {time.perf_counter() - begin_s:.1f} s from loading on")]
