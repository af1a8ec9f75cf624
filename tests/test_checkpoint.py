"""A checkpoint gives back what was saved, or says in a sentence what is wrong with it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file
from torch import Tensor

from residae import checkpoint as module
from residae.checkpoint import ResidualAutoencoder
from residae.errors import CheckpointError

WEIGHTS = "model.safetensors"

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def copy(network: ResidualAutoencoder, tmp_path: Path) -> Path:
    """A checkpoint folder to damage."""
    network.save_pretrained(tmp_path / "copy")
    return tmp_path / "copy"


def _assert_same(loaded: ResidualAutoencoder, saved: ResidualAutoencoder) -> None:
    """Equal, but for kernels that went through half precision."""
    expected = saved.state_dict()
    assert loaded.state_dict().keys() == expected.keys()
    for name, tensor in loaded.state_dict().items():
        stored = expected[name].half().float() if tensor.ndim == 4 else expected[name]
        assert tensor.dtype == expected[name].dtype, name
        assert torch.equal(tensor, stored), name


def test_round_trip(network: ResidualAutoencoder, copy: Path) -> None:
    assert {path.name for path in copy.iterdir()} == {"config.json", WEIGHTS}
    assert json.loads((copy / "config.json").read_text()) == {"base_channels": 4, "latent_channels": 4}
    stored = load_file(copy / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim == 4} == {torch.float16}
    assert {tensor.dtype for tensor in stored.values() if tensor.ndim == 1} == {torch.float32}
    loaded = ResidualAutoencoder.from_pretrained(copy)
    assert not loaded.training
    _assert_same(loaded, network)


def test_the_config_decides_the_shape(tmp_path: Path) -> None:
    ResidualAutoencoder(base_channels=2, latent_channels=3).save_pretrained(tmp_path)
    loaded = ResidualAutoencoder.from_pretrained(str(tmp_path))
    assert (loaded.base_channels, loaded.latent_channels) == (2, 3)
    assert loaded.get_latent_size(16, 16) == (3, 1, 1)


def test_channels_last_weights_are_saved_too(network: ResidualAutoencoder, tmp_path: Path) -> None:
    other = ResidualAutoencoder(4, 4)
    other.load_state_dict(network.state_dict())
    other.to(memory_format=torch.channels_last).save_pretrained(tmp_path)
    _assert_same(ResidualAutoencoder.from_pretrained(tmp_path), network)


def test_shards(network: ResidualAutoencoder, copy: Path) -> None:
    (copy / "README.md").write_text("a model card")
    (copy / "model-old.safetensors").write_bytes(b"would be loaded too")
    network.save_pretrained(copy, max_shard_size="30KB")
    assert len(list(copy.glob("model-*.safetensors"))) > 2
    assert not (copy / WEIGHTS).exists()
    _assert_same(ResidualAutoencoder.from_pretrained(copy), network)

    network.save_pretrained(copy)  # removes shards and index, and touches nothing else
    assert {path.name for path in copy.iterdir()} == {"config.json", WEIGHTS, "README.md"}


def _without(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in tensors.items() if name != "decoder.out.bias"}


def _with(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"decoder.extra": torch.zeros(1)}


def _misshapen(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return tensors | {"decoder.out.bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_without, r"lacks the tensor decoder\.out\.bias\."),
        (_with, r"does not know: decoder\.extra\."),
        (_misshapen, r"tensor decoder\.out\.bias has the shape \(2,\) instead of \(1,\)\."),
    ],
)
def test_loading_is_strict(copy: Path, change: Any, sentence: str) -> None:
    save_file(change(load_file(copy / WEIGHTS)), copy / WEIGHTS)
    with pytest.raises(CheckpointError, match=sentence):
        ResidualAutoencoder.from_pretrained(copy)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.99])
def test_truncated_weights(copy: Path, part: float) -> None:
    data = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(data[: int(part * len(data))])
    with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
        ResidualAutoencoder.from_pretrained(copy)


def test_pickled_weights_are_not_read(network: ResidualAutoencoder, copy: Path) -> None:
    (copy / WEIGHTS).unlink()
    for name in ("pytorch_model.bin", "model.pt", "model.pth"):
        torch.save(network.state_dict(), copy / name)
    with pytest.raises(CheckpointError, match=r"has no weights \(model\*\.safetensors\)"):
        ResidualAutoencoder.from_pretrained(copy)


def test_a_pickle_under_the_right_name_is_not_read(network: ResidualAutoencoder, copy: Path) -> None:
    torch.save(network.state_dict(), copy / WEIGHTS)
    with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
        ResidualAutoencoder.from_pretrained(copy)


@pytest.mark.parametrize(
    "config",
    [
        {"base_channels": 4, "latent_channels": 4, "depth": 2},
        {"base_channels": 4},
        {"base_channels": -4, "latent_channels": 4},
        {"base_channels": 0, "latent_channels": 4},
        {"base_channels": True, "latent_channels": 4},
        {"base_channels": 4.0, "latent_channels": 4},
        {"base_channels": "4", "latent_channels": 4},
        [4, 4],
        None,
    ],
)
def test_config_of_other_content(copy: Path, config: Any) -> None:
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match="as positive whole numbers, and no more"):
        ResidualAutoencoder.from_pretrained(copy)


@pytest.mark.parametrize("content", [b"", b"base_channels: 4", b'{"base_channels": 4', b"\xff\xfe\x00"])
def test_config_that_is_no_json(copy: Path, content: bytes) -> None:
    (copy / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match="is not readable JSON"):
        ResidualAutoencoder.from_pretrained(copy)


@pytest.mark.parametrize("channels", [2**62, 10**30])
def test_config_of_an_impossible_network(copy: Path, channels: int) -> None:
    (copy / "config.json").write_text(json.dumps({"base_channels": channels, "latent_channels": 4}))
    with pytest.raises(CheckpointError, match="does not describe a network that can be built"):
        ResidualAutoencoder.from_pretrained(copy)


def test_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is not a checkpoint: it has no config\.json"):
        ResidualAutoencoder.from_pretrained(tmp_path)


@pytest.mark.parametrize("source", ["nowhere", "/no/such/folder", "../../a/b", "one/bad name!"])
def test_absent_folder(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "repo_info", _unreachable)
    with pytest.raises(CheckpointError, match=f"There is no checkpoint folder {source}"):
        ResidualAutoencoder.from_pretrained(source)


def _unreachable(*_: Any, **__: Any) -> None:
    pytest.fail("the network was asked")


@pytest.mark.parametrize(("source", "revision"), [("owner/name", None), ("owner/name@v2", "v2")])
def test_from_the_hub(
    source: str,
    revision: str | None,
    network: ResidualAutoencoder,
    checkpoint: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {}

    def snapshot_download(repo_id: str, **options: Any) -> str:
        asked.update(options, repo_id=repo_id)
        return str(checkpoint)

    monkeypatch.setattr(module, "snapshot_download", snapshot_download)
    _assert_same(ResidualAutoencoder.from_pretrained(source), network)
    assert asked["repo_id"] == "owner/name"
    assert asked["revision"] == revision
    assert {"config.json", "model*.safetensors"} <= set(asked["allow_patterns"])
    assert not any("*" in pattern and not pattern.endswith(".safetensors") for pattern in asked["allow_patterns"])


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (LocalEntryNotFoundError("offline"), "owner/name is not in the cache, and the Hub cannot be reached"),
        (OSError("404"), "The Hub does not give out owner/name: check the name"),
    ],
)
def test_hub_that_does_not_deliver(error: Exception, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def snapshot_download(*_: Any, **__: Any) -> str:
        raise error

    monkeypatch.setattr(module, "snapshot_download", snapshot_download)
    with pytest.raises(CheckpointError, match=sentence):
        ResidualAutoencoder.from_pretrained("owner/name")


def test_offline_without_a_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the Hub's own client, which is told that there is no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(CheckpointError, match="is not in the cache, and the Hub cannot be reached"):
        ResidualAutoencoder.from_pretrained("owner/name")


def test_push_to_hub(network: ResidualAutoencoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    class FakeApi:
        def __init__(self, token: str | None) -> None:
            calls.append(("login", token))

        def create_repo(self, repo_id: str, **options: Any) -> None:
            calls.append(("create", repo_id, options))

        def upload_folder(self, *, repo_id: str, folder_path: str, **options: Any) -> str:
            Path(folder_path).rename(tmp_path / "uploaded")
            Path(folder_path).mkdir()
            calls.append(("upload", repo_id, options["delete_patterns"]))
            return "https://hub/owner/name/commit/1"

    monkeypatch.setattr(module, "HfApi", FakeApi)
    assert network.push_to_hub("owner/name", private=True, token="secret") == "https://hub/owner/name/commit/1"
    assert calls == [
        ("login", "secret"),
        ("create", "owner/name", {"private": True, "exist_ok": True}),
        ("upload", "owner/name", ["model*.safetensors*", "codec.safetensors"]),
    ]
    assert {path.name for path in (tmp_path / "uploaded").iterdir()} == {"config.json", WEIGHTS}
    _assert_same(ResidualAutoencoder.from_pretrained(tmp_path / "uploaded"), network)


def test_tensors_have_the_shapes_of_the_first_weights(shared: Path) -> None:
    """Which another implementation of the specification made, under names of its own."""
    theirs = load_file(shared / "warmstart" / "weights.safetensors").values()
    ours = ResidualAutoencoder().state_dict()
    shapes = [tensor.shape for name, tensor in ours.items() if not name.endswith("num_batches_tracked")]
    assert sorted(shapes) == sorted(tensor.shape for tensor in theirs)
