"""Labels tickets with LOTUS on a server, as its users do; prints the labels as JSON. Run in LOTUS's own environment."""

from __future__ import annotations

import json
import pathlib
import sys
from unittest import mock

NOT_INSTALLED = ("faiss", "sentence_transformers", "torch")
"""Imported by LOTUS for its vector operators; labelling never calls them."""


def main(url: str, path: str) -> None:
    for name in NOT_INSTALLED:
        sys.modules[name] = mock.MagicMock(__spec__=None)
    import lotus
    import pandas as pd

    frame = pd.DataFrame({"text": json.loads(pathlib.Path(path).read_text())})
    model = lotus.models.LM(
        model="hosted_vllm/m", api_base=f"{url}/v1", api_key="none", max_tokens=8, temperature=0, max_ctx_len=2048
    )
    lotus.settings.configure(lm=model)
    labelled = frame.sem_map("Which team handles this ticket? {text}", suffix="team")
    kept = frame.sem_filter("{text} is about money")
    print(json.dumps({"teams": labelled["team"].tolist(), "kept": len(kept)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
