"""A checkpoint gives back what was saved, or says in a sentence what is wrong with it."""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hub import Hub
from huggingface_hub import HfApi, close_session
from safetensors.torch import load_file, save_file
from torch import Tensor

from residae.checkpoint import Checkpoint, open_codec
from residae.codec import Tables
from residae.errors import CheckpointError
from residae.model import ResidualAutoencoder
from residae.pipeline import Pipeline

WEIGHTS = "model.safetensors"


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


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such files")
def test_weights_are_written_as_any_other_file(copy: Path, tmp_path: Path) -> None:
    """A link is followed, as those to the weights on another disk, and the mode stays."""
    real = tmp_path / "real"
    (copy / WEIGHTS).replace(real)
    (copy / WEIGHTS).symlink_to(real)
    real.chmod(0o600)
    other = ResidualAutoencoder(4, 4)
    other.save_pretrained(copy)
    assert (copy / WEIGHTS).readlink() == real
    assert real.stat().st_mode & 0o777 == 0o600
    _assert_same(ResidualAutoencoder.from_pretrained(copy), other)
    assert {path.name for path in copy.iterdir()} == {"config.json", WEIGHTS}


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


@pytest.mark.parametrize(("dtype", "stored"), [(torch.float32, "F32"), (torch.bfloat16, "BF16")])
def test_kernels_in_another_type_are_refused(copy: Path, dtype: torch.dtype, stored: str) -> None:
    """Such as `save_file(network.state_dict())` leaves them: the fingerprint of a file's bytes would be another one."""
    tensors = load_file(copy / WEIGHTS)
    save_file({name: t.to(dtype) if t.ndim == 4 else t for name, t in tensors.items()}, copy / WEIGHTS)
    for opened in (Checkpoint.open, open_codec):
        with pytest.raises(CheckpointError, match=f"is stored as {stored} instead of F16: .* save_pretrained"):
            opened(copy)


def test_a_network_in_another_type_is_saved_as_any_other(copy: Path) -> None:
    network = ResidualAutoencoder.from_pretrained(copy).bfloat16()
    network.save_pretrained(copy)
    _assert_same(ResidualAutoencoder.from_pretrained(copy), network.float())


@pytest.mark.parametrize("name", ["model_old.safetensors", "model-00001-of-00002.safetensors"])
def test_a_tensor_in_two_files_is_refused(copy: Path, name: str) -> None:
    """The last file in order of name would win silently."""
    other = {"decoder.out.bias": torch.ones(1)}
    save_file(other, copy / name)
    with pytest.raises(CheckpointError, match=r"has the tensor decoder\.out\.bias twice"):
        ResidualAutoencoder.from_pretrained(copy)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.99])
def test_truncated_weights(copy: Path, part: float) -> None:
    data = (copy / WEIGHTS).read_bytes()
    (copy / WEIGHTS).write_bytes(data[: int(part * len(data))])
    with pytest.raises(CheckpointError, match="is damaged or not a safetensors file"):
        ResidualAutoencoder.from_pretrained(copy)


@pytest.mark.parametrize("name", [WEIGHTS, "codec.safetensors"])
def test_a_git_lfs_pointer_is_named_as_one(network: ResidualAutoencoder, tmp_path: Path, name: str) -> None:
    """A clone without Git LFS has such a text in place of each large file."""
    Checkpoint(network, Tables.default(4)).save(tmp_path)
    oid = hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 92741\n"
    (tmp_path / name).write_text(pointer, encoding="utf-8")
    sentence = f"{name} is a Git LFS pointer instead of the weights: fetch them with `git lfs pull`."
    for opened in (Checkpoint.open, open_codec):
        with pytest.raises(CheckpointError, match=re.escape(sentence)):
            opened(tmp_path)


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


@pytest.mark.parametrize("source", ["nowhere", "/no/such/folder", "../../a/b", "one/bad name!", "x" * 300])
def test_absent_folder(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HfApi, "repo_info", _unreachable)
    with pytest.raises(CheckpointError, match=f"There is no checkpoint folder {source}"):
        ResidualAutoencoder.from_pretrained(source)


def _unreachable(*_: Any, **__: Any) -> None:
    pytest.fail("the network was asked")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_from_the_hub_once_and_from_the_cache_ever_after(
    network: ResidualAutoencoder, checkpoint: Path, hub: Hub
) -> None:
    more = {"README.md": b"# A model card", "pytorch_model.bin": b"a pickle", "examples/picture.png": b"not asked for"}
    hub.add("model", "owner/name", _files(checkpoint) | more)
    _assert_same(ResidualAutoencoder.from_pretrained("owner/name"), network)
    fetched = [path.rsplit("/", 1)[-1] for method, path in hub.calls if method == "GET" and "/resolve/" in path]
    assert sorted(fetched) == ["README.md", "config.json", WEIGHTS]

    hub.calls.clear()
    _assert_same(ResidualAutoencoder.from_pretrained("owner/name"), network)
    assert not [path for _, path in hub.calls if "/resolve/" in path]

    hub.stop()
    _assert_same(ResidualAutoencoder.from_pretrained("owner/name"), network)


def test_a_revision_is_a_branch_a_tag_or_a_commit(network: ResidualAutoencoder, checkpoint: Path, hub: Hub) -> None:
    repository = hub.add("model", "owner/name", _files(checkpoint))
    first = repository.resolve("main")
    repository.tags["v1"] = str(first)
    repository.commit({"README.md": b"The weights are gone."})
    with pytest.raises(CheckpointError, match="has no config"):
        ResidualAutoencoder.from_pretrained("owner/name")
    for revision in ("v1", first):
        _assert_same(ResidualAutoencoder.from_pretrained(f"owner/name@{revision}"), network)
    with pytest.raises(CheckpointError, match="owner/name@v2 is not a folder, and the Hugging Face Hub refuses it"):
        ResidualAutoencoder.from_pretrained("owner/name@v2")


def test_what_the_hub_does_not_have(hub: Hub) -> None:
    with pytest.raises(CheckpointError, match="owner/name is not a folder, and the Hugging Face Hub refuses it"):
        ResidualAutoencoder.from_pretrained("owner/name")


@pytest.mark.parametrize("cause", ["down", "offline", "proxy"])
def test_neither_cache_nor_network(cause: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    _cut_off(cause, hub, monkeypatch)
    with pytest.raises(
        CheckpointError, match="is neither a folder nor in the cache, and the Hugging Face Hub cannot be reached"
    ):
        ResidualAutoencoder.from_pretrained("owner/name")


@pytest.mark.parametrize("cause", ["down", "offline", "proxy"])
def test_the_cache_without_network(
    cause: str, network: ResidualAutoencoder, checkpoint: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("model", "owner/name", _files(checkpoint))
    ResidualAutoencoder.from_pretrained("owner/name")
    _cut_off(cause, hub, monkeypatch)
    _assert_same(ResidualAutoencoder.from_pretrained("owner/name"), network)


def _cut_off(cause: str, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    if cause == "down":
        hub.stop()
    elif cause == "offline":
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    else:  # a proxy that does not let us through: the stand-in refuses to CONNECT
        monkeypatch.setenv("HTTPS_PROXY", hub.address)
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "https://hub.invalid")
    close_session()


@pytest.mark.skipif(sys.platform == "win32", reason="the error of Windows reads differently")
def test_a_cache_that_cannot_be_written(
    checkpoint: Path, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("model", "owner/name", _files(checkpoint))
    (tmp_path / "file").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match=rf"cannot be kept in the cache, {tmp_path}/file: Not a directory\.$"):
        ResidualAutoencoder.from_pretrained("owner/name")


@pytest.mark.parametrize("name", ["absent", "config.json"])
def test_certificates_that_cannot_be_read(
    checkpoint: Path, hub: Hub, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("model", "owner/name", _files(checkpoint))
    monkeypatch.setenv("SSL_CERT_FILE", str(checkpoint / name))
    close_session()
    with pytest.raises(CheckpointError, match=f"cannot be downloaded: SSL_CERT_FILE names .*{name}, which"):
        ResidualAutoencoder.from_pretrained("owner/name")


def test_the_environment_names_a_repository(
    network: ResidualAutoencoder, checkpoint: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("model", "owner/tiny", _files(checkpoint))
    monkeypatch.setenv("RESIDAE_CHECKPOINT", "owner/tiny")
    pipeline = Pipeline.open(device="cpu")
    assert (pipeline.name, pipeline.codec.fingerprint) == ("tiny", Checkpoint(network).fingerprint)


def test_a_checkpoint_has_the_name_of_its_folder_or_release(
    copy: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = hub.add("model", "owner/net", _files(copy))
    repository.tags["v1.0"] = str(repository.resolve("main"))
    monkeypatch.chdir(copy)
    sources = {".": "copy", str(copy): "copy", "owner/net": "net", "owner/net@v1.0": "v1.0"}
    for source, name in sources.items():
        assert Checkpoint.open(source).name == open_codec(source).name == name
        monkeypatch.setenv("RESIDAE_CHECKPOINT", source)
        assert next(iter(Checkpoint.find().items())) == (name, source)


def test_tensors_have_the_shapes_of_the_first_weights(shared: Path) -> None:
    """Which another implementation of the specification made, under names of its own."""
    theirs = load_file(shared / "warmstart" / "weights.safetensors").values()
    ours = ResidualAutoencoder().state_dict()
    shapes = [tensor.shape for name, tensor in ours.items() if not name.endswith("num_batches_tracked")]
    assert sorted(shapes) == sorted(tensor.shape for tensor in theirs)
