"""What the doctor makes of machines that are not this one."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import pytest

from pagednb.doctor.finding import Finding
from pagednb.doctor.gpus import Gpu, GpuFacts, gpu_findings
from pagednb.doctor.kernels import cache_folder, compiled_counts, kernel_findings, kernel_names
from pagednb.doctor.machine import folder_finding
from pagednb.doctor.packages import package_findings

GIB = 2**30
H200 = Gpu(name="NVIDIA H200", capability=(9, 0), total_bytes=140 * GIB, free_bytes=138 * GIB)
WELL = GpuFacts(driver="570.1", cuda="12.8", visible=None, gpus=(H200,), holders=())


def problems(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.is_problem]


def test_a_gpu_with_room_is_well() -> None:
    found = gpu_findings(WELL)
    assert not problems(found)
    assert "570.1" in found[0].text and "NVIDIA H200" in found[1].text and "138.0 of 140.0 GiB free" in found[1].text


def test_a_full_gpu_names_who_holds_it() -> None:
    full = dataclasses.replace(H200, free_bytes=5 * GIB)
    holder = "4711, python, 130000 MiB"
    found = gpu_findings(dataclasses.replace(WELL, gpus=(H200, full), holders=(holder,)))
    (problem,) = problems(found)
    assert problem.text.startswith("GPU 1") and "the processes below" in str(problem.remedy)
    assert holder in found[-1].text


@pytest.mark.parametrize(
    ("changed", "remedy"),
    [
        ({"cuda": None}, "Install torch for CUDA"),
        ({}, "Update the driver"),
        ({"visible": ""}, "unset it"),
        ({"visible": "-1", "cuda": None}, "unset it"),
    ],
)
def test_a_gpu_that_torch_does_not_see(changed: dict[str, str | None], remedy: str) -> None:
    (problem,) = gpu_findings(dataclasses.replace(WELL, gpus=(), **changed))
    assert remedy in str(problem.remedy)


def test_no_gpu_is_no_problem() -> None:
    assert not problems(gpu_findings(GpuFacts(driver=None, cuda=None, visible=None, gpus=(), holders=())))


def test_kernels_in_the_cache_are_counted(tmp_path: pathlib.Path) -> None:
    for number, name in enumerate(["_rms_norm_kernel.cubin", "_rms_norm_kernel.cubin", "_rms_norm_kernel.json"]):
        (tmp_path / str(number)).mkdir()
        (tmp_path / str(number) / name).touch()
    assert compiled_counts(tmp_path) == {"_rms_norm_kernel": 2}
    environment = {"TRITON_CACHE_DIR": str(tmp_path), "CC": "/usr/bin/cc"}
    texts = "\n".join(finding.text for finding in kernel_findings(environment, has_gpu=True))
    assert "_rms_norm_kernel (2)" in texts and "not compiled yet" in texts and "_silu_and_mul_kernel" in texts
    (problem,) = problems(kernel_findings({**environment, "TRITON_INTERPRET": "1"}, has_gpu=True))
    assert "TRITON_INTERPRET" in problem.text


def test_no_compiler_is_a_problem(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (problem,) = problems(kernel_findings({"TRITON_HOME": str(tmp_path)}, has_gpu=True))
    assert "apt-get install gcc" in str(problem.remedy)
    assert not problems(kernel_findings({}, has_gpu=False))
    assert cache_folder({"TRITON_HOME": "/a"}) == pathlib.Path("/a/.triton/cache")


def test_all_kernels_have_a_name() -> None:
    names = kernel_names()
    assert {"_rms_norm_kernel", "_rope_and_cache_kernel", "_token_logprobs_kernel"} <= set(names) and len(names) > 15


def test_libraries_that_are_missing_or_old() -> None:
    requirements = [
        "numpy>=1.0",
        "torch>=999.1",
        "no-such-library>=2; sys_platform == 'linux'",
        "not-for-us>=2; sys_platform == 'plan9'",
        "no-such-extra>=1.5; extra == 'serve'",
        "no-such-test>=1; extra == 'test'",
    ]
    found = package_findings(requirements)
    old, missing = problems(found)
    assert "999.1 is needed" in old.text and 'pip install "torch>=999.1"' in str(old.remedy)
    assert missing.text == "no-such-library is not installed"
    assert any('no-such-extra is not installed. If wanted: pip install "pagednb[serve]"' in item.text for item in found)
    assert not any("no-such-test" in item.text or "not-for-us" in item.text for item in found)


@pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_is_closed(tmp_path: pathlib.Path) -> None:
    tmp_path.chmod(0o500)
    found = folder_finding("models", tmp_path / "deep" / "down", "HF_HOME")
    assert found.is_problem and "HF_HOME" in str(found.remedy)


def test_a_folder_with_and_without_room(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not folder_finding("models", tmp_path / "not/yet", "HF_HOME").is_problem
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 10})())
    assert "larger disk" in str(folder_finding("models", tmp_path, "HF_HOME").remedy)
