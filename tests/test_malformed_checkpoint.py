"""Damaged checkpoints are noticed, explained and passed over; none is ever half used."""

from __future__ import annotations

import json
import struct
import zlib
from dataclasses import replace

import pytest
import torch
from fewview.learn.checkpoint import Checkpoint, load, load_newest, save
from fewview.recon.methods.gaussian_splatting.config import GaussianSplattingConfig
from fewview.recon.methods.gaussian_splatting.model import initialise
from fewview.recon.optimise.trainer import fit
from fewview.scene.errors import BadInputError, FewviewError
from fewview.scene.run import Run
from support.training import same_bits, tiny_dataset

CONFIG = GaussianSplattingConfig(steps=12, sh_degree=0, densification="none", checkpoint_every_steps=5)


def _checkpoint(step: int) -> Checkpoint:
    tensors = {"a": torch.arange(12.0).reshape(4, 3) + step, "empty": torch.zeros(0, 3), "flags": torch.tensor([True])}
    return Checkpoint(step, 1.5, {"steps": 9, "background": [0.0, 0.0, 0.0]}, "abc", tensors)


def test_what_is_written_is_read(tmp_path):
    path = save(tmp_path, _checkpoint(7))
    read = load(path)
    assert (read.step, read.seconds, read.settings, read.data) == (7, 1.5, _checkpoint(7).settings, "abc")
    assert read.tensors.keys() == _checkpoint(7).tensors.keys()
    assert all(torch.equal(v, _checkpoint(7).tensors[k]) for k, v in read.tensors.items())


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 60, 0.5, 0.9, -1])
def test_a_truncated_file_falls_back_to_the_one_before(tmp_path, keep):
    save(tmp_path, _checkpoint(1))
    newest = save(tmp_path, _checkpoint(2))
    data = newest.read_bytes()
    newest.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    checkpoint, notes = load_newest(tmp_path)
    assert checkpoint.step == 1
    assert len(notes) == 1
    assert "step_00000002.safetensors is damaged and was not used" in notes[0]


@pytest.mark.parametrize("flip", [0x01, 0x80])
def test_every_flipped_byte_is_noticed_or_harmless(tmp_path, flip):
    """A change may pass (a space of padding that becomes another) only where the content is the same."""
    path = save(tmp_path, _checkpoint(2))
    data = bytearray(path.read_bytes())
    good = load(path)
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= flip
        path.write_bytes(damaged)
        try:
            read = load(path)
        except BadInputError:
            continue
        assert replace(read, tensors={}) == replace(good, tensors={}), position
        assert all(torch.equal(v, good.tensors[k]) for k, v in read.tensors.items()), position


def _rewritten_manifest(data: bytes, change) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    manifest = json.loads(header["__metadata__"]["fewview_checkpoint"])
    change(manifest)
    header["__metadata__"]["fewview_checkpoint"] = json.dumps(manifest)
    header["__metadata__"]["fewview_checkpoint_crc32"] = str(zlib.crc32(json.dumps(manifest).encode()))
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.update(schema=99), "schema 99"),
        (lambda m: m["tensors"].pop("a"), "not those that its manifest lists"),
        (lambda m: m["tensors"]["a"].update(shape=[3, 4]), "shape"),
        (lambda m: m["tensors"]["a"].update(crc32=1), "checksum"),
        (lambda m: m.pop("step"), "step"),
        (lambda m: m.update(tensors=[1, 2]), "damaged"),
    ],
)
def test_a_manifest_that_lies_is_refused(tmp_path, change, message):
    path = save(tmp_path, _checkpoint(3))
    path.write_bytes(_rewritten_manifest(path.read_bytes(), change))
    with pytest.raises(BadInputError, match=message):
        load(path)


def test_a_header_that_claims_terabytes_is_refused_at_once(tmp_path):
    path = tmp_path / "step_00000001.safetensors"
    header = json.dumps({"a": {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 2**42]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(BadInputError, match="damaged"):
        load(path)


def test_when_all_are_damaged_the_run_says_so(tmp_path):
    for step in (1, 2):
        save(tmp_path, _checkpoint(step)).write_bytes(b"x" * 100)
    with pytest.raises(FewviewError, match=r"No checkpoint in .* can be read; start the run again"):
        load_newest(tmp_path)


def test_training_goes_on_from_the_one_before_a_damaged_one(tmp_path):
    dataset = tiny_dataset()
    run = Run.create(tmp_path / "run", {})
    whole = fit(initialise(dataset, CONFIG), dataset, CONFIG, run=run)
    newest = sorted(run.checkpoints_path.iterdir())[-1]
    newest.write_bytes(newest.read_bytes()[:-5])
    again = fit(initialise(dataset, CONFIG), dataset, CONFIG, run=run, resume=True)
    assert "step_00000012" in again.notes[0]
    assert same_bits(again.splat.gaussians, whole.splat.gaussians)


def test_tensors_that_do_not_belong_together_are_refused(tmp_path):
    dataset = tiny_dataset()
    run = Run.create(tmp_path / "run", {})
    fit(initialise(dataset, CONFIG), dataset, CONFIG, run=run)
    checkpoint, _ = load_newest(run.checkpoints_path)
    of_rows = [f"tables/gaussians/quats/{part}" for part in ("value", "exp_avg", "exp_avg_sq")]
    shorter = {k: v[:-1] if k in of_rows else v for k, v in checkpoint.tensors.items()}
    save(run.checkpoints_path, replace(checkpoint, tensors=shorter))
    with pytest.raises(FewviewError, match=r"equal numbers of rows, found .*'quats': 23"):
        fit(initialise(dataset, CONFIG), dataset, CONFIG, run=run, resume=True)
