"""``python -m pagednb`` is the command ``pagednb``."""

from __future__ import annotations

from pagednb.command_line.main import main

raise SystemExit(main())
