"""Hub ids: what is fetched in which order, and the hub's failures as sentences. The hub itself is a fake."""

from __future__ import annotations

import fnmatch
import pathlib
import types
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors as hub_errors
from support.tiny_models import tiny_model

from pagednb.config import EngineConfig
from pagednb.errors import ModelLoadError, UnsupportedArchitectureError
from pagednb.models.resolve import resolve_model

COMMIT = "0123456789abcdef"


class FakeHub:
    """Takes the place of ``snapshot_download``: copies matching files of one repository to a snapshot folder."""

    def __init__(self, source: pathlib.Path, cache: pathlib.Path) -> None:
        self.source = source
        self.cache = cache
        self.calls: list[dict[str, Any]] = []

    def __call__(self, repo_id: str, **options: Any) -> str:
        self.calls.append({"repo_id": repo_id, **options})
        snapshot = self.cache / "snapshots" / COMMIT
        snapshot.mkdir(parents=True, exist_ok=True)
        for path in self.source.iterdir():
            if any(fnmatch.fnmatch(path.name, pattern) for pattern in options["allow_patterns"]):
                (snapshot / path.name).write_bytes(path.read_bytes())
        return str(snapshot)


@pytest.fixture
def hub(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> FakeHub:
    fake = FakeHub(tiny_model("qwen2", tmp_path / "repo"), tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "snapshot_download", fake)
    return fake


def config(**options: Any) -> EngineConfig:
    return EngineConfig(model="someone/model", device="cpu", **options)


def test_metadata_first_then_safetensors_of_the_same_commit(hub: FakeHub) -> None:
    (hub.source / "pytorch_model.bin").write_bytes(b"unwanted")
    resolved = resolve_model(config(revision="v2", download_dir="/some/cache"))
    assert (resolved.name, resolved.revision) == ("someone/model", COMMIT)
    assert resolved.identity == f"someone/model@{COMMIT}:float32"
    metadata, weights = hub.calls
    assert metadata["revision"] == "v2" and "*.json" in metadata["allow_patterns"]
    assert weights["revision"] == COMMIT and weights["allow_patterns"] == ["*.safetensors"]
    assert {call["cache_dir"] for call in hub.calls} == {"/some/cache"}
    assert (resolved.folder / "model.safetensors").exists()
    assert not (resolved.folder / "pytorch_model.bin").exists()


def test_pickles_only_where_there_are_no_safetensors(hub: FakeHub) -> None:
    (hub.source / "model.safetensors").rename(hub.source / "pytorch_model.bin")
    assert (resolve_model(config()).folder / "pytorch_model.bin").exists()
    assert [call["allow_patterns"] for call in hub.calls[1:]] == [["*.safetensors"], ["*.bin"]]


def test_dummy_weights_fetch_no_weights(hub: FakeHub) -> None:
    resolve_model(config(load_format="dummy"))
    assert len(hub.calls) == 1


def test_an_unsupported_model_fetches_no_weights(hub: FakeHub) -> None:
    (hub.source / "config.json").write_text('{"architectures": ["MambaForCausalLM"]}')
    with pytest.raises(UnsupportedArchitectureError):
        resolve_model(config())
    assert len(hub.calls) == 1


def http_error(kind: type[hub_errors.HfHubHTTPError]) -> Exception:
    return kind("refused", response=types.SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("failure", "message"),
    [
        (hub_errors.LocalEntryNotFoundError("offline"), r"could not be fetched.*offline.*HF_HUB_OFFLINE.*folder"),
        (hub_errors.HTTPError("no route"), r"could not be fetched.*no route.*network"),
        (hub_errors.OfflineModeIsEnabled("HF_HUB_OFFLINE=1"), r"could not be fetched.*folder"),
        (http_error(hub_errors.GatedRepoError), r"permission.*HF_TOKEN"),
        (http_error(hub_errors.RepositoryNotFoundError), r"neither a local folder nor a model on the hub.*HF_TOKEN"),
        (http_error(hub_errors.RevisionNotFoundError), r"at revision 'v2'"),
        (hub_errors.HFValidationError("bad id"), r"neither a folder nor a hub id"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_failures_of_the_hub(failure: Exception, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: Any, **options: Any) -> str:
        raise failure

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(ModelLoadError, match=message):
        resolve_model(config(revision="v2"))
