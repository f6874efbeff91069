"""``python -m pagednb.server`` is ``pagednb serve``, and takes the flags of vLLM's server."""

from __future__ import annotations

import sys

from pagednb.command_line.main import main

raise SystemExit(main(["serve", *sys.argv[1:]]))
