"""``pagednb doctor``: is everything here that pagednb needs, and if not, what to do."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from pagednb.command_line.command import Command
from pagednb.doctor.finding import Finding
from pagednb.errors import PagednbError

_DESCRIPTION = """\
Look at this machine as pagednb sees it: Python, libraries, GPUs with driver, free memory and who holds it, kernels
that are compiled, and whether the model inside the package answers. Each problem comes with what to do about it."""

_EXAMPLES = """\
examples:
  pagednb doctor                          look, and let the model inside answer
  pagednb doctor --skip-test              only look: nothing is loaded or compiled
  pagednb doctor > doctor.txt             to be sent with a report of a bug; it holds no texts and no keys

Exit status: 0 all is well, 1 there is a problem, 2 wrong options."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.add_argument("--skip-test", action="store_true", help="do not load the model inside")


def run(args: argparse.Namespace) -> None:
    """Look and tell. Raises PagednbError, after telling all, if there is a problem."""
    from pagednb.doctor.gpus import gpu_facts, gpu_findings
    from pagednb.doctor.kernels import kernel_findings
    from pagednb.doctor.machine import machine_findings
    from pagednb.doctor.packages import package_findings
    from pagednb.doctor.self_test import self_test_findings

    num_problems = _tell("machine", machine_findings()) + _tell("libraries", package_findings())
    facts = gpu_facts()
    num_problems += _tell("GPUs", gpu_findings(facts))
    num_problems += _tell("kernels", kernel_findings(os.environ, has_gpu=bool(facts.gpus)))
    if not args.skip_test:
        num_problems += _tell("self-test", self_test_findings())
    if num_problems:
        counted = "1 problem was" if num_problems == 1 else f"{num_problems} problems were"
        raise PagednbError(f"{counted} found.", hint="What to do stands behind the arrows.")
    print("\nAll is well.", flush=True)


def _tell(title: str, findings: Sequence[Finding]) -> int:
    """Print a section; return how many problems it has."""
    print(title, flush=True)
    for finding in findings:
        print(f"  {'!!' if finding.is_problem else 'ok'}  {finding.text}", flush=True)
        if finding.is_problem:
            print(f"      -> {finding.remedy}", flush=True)
    return sum(finding.is_problem for finding in findings)


DOCTOR = Command(
    name="doctor",
    summary="look at this machine, and say what to do about each problem",
    description=_DESCRIPTION,
    examples=_EXAMPLES,
    add_arguments=add_arguments,
    run=run,
)
