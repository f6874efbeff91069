"""The workloads and model shapes of ``pagednb bench``, under one name for the scripts of this folder."""

from __future__ import annotations

from pagednb.benchmark.shapes import SHAPES as MODELS
from pagednb.benchmark.shapes import model_folder
from pagednb.benchmark.workloads import VOCAB, Workload, make_workload

NAMES = ("single", "chatlike", "nano", "label")

__all__ = ["MODELS", "NAMES", "VOCAB", "Workload", "make_workload", "model_folder"]
