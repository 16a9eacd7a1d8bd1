"""Files of other libraries' weights: the same outputs, which is what tells one layout from another.

``oracles/layouts.json`` holds what PyTorch, Keras and Flax computed (``oracles/make_layouts.py`` wrote it, with their
versions); ``oracles/layout_loops.py`` computes the same from the tensors as their reference pages say. Tolerance,
normwise relative: 1e-12 for 4 steps of float64 in another order; 1e-6 for Keras, which multiplies matrices in float32
with every backend but TensorFlow (``keras.backend.result_type("float64")``): the formulas check the rest.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import oracle
from oracles import layout_loops
from oracles.compare import assert_normwise

import gradlab as gl

ORACLES = Path(__file__).parents[1] / "oracles"
GOLDEN = json.loads((ORACLES / "layouts.json").read_text())
LAYOUT = {"torch": "pytorch", "keras": "keras", "flax": "flax"}
TOLERANCE = {"torch": 1e-12, "keras": 1e-6, "flax": 1e-12}
#: What a file does not say, by case.
UNSAID = {
    "torch/rnn": {"activation": "relu"},
    "keras/simple-rnn": {"activation": "tanh"},
    "keras/gru-no-bias": {"reset": "after"},
    "flax/linen-SimpleCell": {"activation": "tanh"},
    "flax/nnx-SimpleCell": {"activation": "tanh"},
}
CASES = [f"{library}/{name}" for library, made in GOLDEN.items() for name in made["cases"]]
Array = np.ndarray[Any, Any]


def case(name: str) -> tuple[str, dict[str, Array], Array, Array]:
    library, _, which = name.partition("/")
    found = GOLDEN[library]["cases"][which]
    tensors = {key: np.array(value) for key, value in found["tensors"].items()}
    return LAYOUT[library], tensors, np.array(found["x"]), np.array(found["y"])


def written(folder: Path, tensors: dict[str, Array], suffix: str = ".npz") -> Path:
    path = folder / f"model{suffix}"
    if suffix == ".npz":
        np.savez(path, **tensors)
    else:
        oracle("safetensors.numpy").save_file({key: np.ascontiguousarray(a) for key, a in tensors.items()}, path)
    return path


def kind_of(name: str) -> str:
    return next(kind for kind in ("lstm", "gru", "rnn", "simple") if kind in name.lower()).replace("simple", "rnn")


def by_formula(name: str) -> Array:
    layout, tensors, x, _ = case(name)
    options: dict[str, Any] = {}
    if name == "torch/rnn":
        options["activation"] = lambda a: np.maximum(a, 0)
    if name == "keras/gru-before":
        options["reset_after"] = False
    return getattr(layout_loops, layout)(kind_of(name), tensors, x, **options)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_the_library_and_of_its_formulas(name: str, suffix: str, tmp_path: Path) -> None:
    layout, tensors, x, y = case(name)
    model = gl.load_weights(written(tmp_path, tensors, suffix), layout=layout, **UNSAID.get(name, {}))
    found = gl.trace(model, x).outputs
    assert_normwise(found, y, TOLERANCE[name.partition("/")[0]], "the library", axis=None)
    assert_normwise(found, by_formula(name), 1e-12, "its formulas", axis=None)
    assert isinstance(model, gl.Network if name == "torch/lstm-layers" else gl.Cell)


@pytest.mark.parametrize("library", GOLDEN)
def test_the_library_itself_still_computes_them(library: str) -> None:
    if find_spec(library) is None:  # not imported here: Keras asks for its backend first
        oracle(library)
    done = subprocess.run(
        [sys.executable, ORACLES / "make_layouts.py", library], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])["cases"]
    assert made.keys() == GOLDEN[library]["cases"].keys()
    for name, found in made.items():
        known = GOLDEN[library]["cases"][name]
        assert list(found["tensors"]) == list(known["tensors"])
        assert_normwise(np.array(found["y"]), np.array(known["y"]), TOLERANCE[library], name, axis=None)


def test_a_keras_gru_without_bias_is_what_it_is_said_to_be(tmp_path: Path) -> None:
    _, tensors, x, y = case("keras/gru-no-bias")
    path = written(tmp_path, tensors)
    before = gl.load_weights(path, layout="keras", reset="before")
    expected = layout_loops.keras("gru", tensors, x, reset_after=False)
    assert_normwise(gl.trace(before, x).outputs, expected, 1e-12, "reset before", axis=None)
    assert np.abs(expected - y).max() > 1e-3


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_half_precision_becomes_float32(suffix: str, tmp_path: Path) -> None:
    _, tensors, *_ = case("torch/gru")
    for kind in ("float32", "float16"):
        halves = {key: array.astype(kind) for key, array in tensors.items()}
        cell = gl.load_weights(written(tmp_path, halves, suffix), layout="pytorch")
        assert cell.dtype == np.float32
        np.testing.assert_array_equal(cell.W_hh, halves["weight_hh_l0"].astype("float32"))


def test_bfloat16_is_the_upper_half_of_a_float32(tmp_path: Path) -> None:
    torch, serialize = oracle("torch"), oracle("safetensors.torch").save_file
    _, tensors, *_ = case("torch/lstm")
    halves = {key: torch.tensor(array).bfloat16() for key, array in tensors.items()}
    serialize(halves, tmp_path / "model.safetensors")
    cell = gl.load_weights(tmp_path / "model.safetensors", layout="pytorch")
    np.testing.assert_array_equal(cell.W_hh, halves["weight_hh_l0"].float().numpy())


def renamed(tensors: dict[str, Array], before: str) -> dict[str, Array]:
    return {before + key: array for key, array in tensors.items()}


def two_layers() -> dict[str, Array]:
    """A model with two recurrent layers and something else."""
    _, lstm, *_ = case("torch/lstm")
    _, gru, *_ = case("torch/gru")
    return renamed(lstm, "encoder.lstm.") | renamed(gru, "decoder.gru.") | {"head.weight": np.ones((2, 3))}


def test_a_layer_is_named_by_its_prefix_or_by_what_lies_above_it(tmp_path: Path) -> None:
    path = written(tmp_path, two_layers())
    assert isinstance(gl.load_weights(path, layout="pytorch", prefix="encoder.lstm"), gl.LSTM)
    assert isinstance(gl.load_weights(path, layout="pytorch", prefix="encoder."), gl.LSTM)
    assert isinstance(gl.load_weights(path, layout="pytorch", prefix="decoder"), gl.GRU)


def test_two_directions_of_keras_make_a_bidirectional(tmp_path: Path) -> None:
    _, forward, x, y = case("keras/lstm")
    _, reverse, *_ = case("keras/lstm-no-bias")
    forward, reverse = (
        {f"bidirectional/{name}_lstm/" + key.partition("/")[2]: array for key, array in tensors.items()}
        for name, tensors in (("forward", forward), ("backward", reverse))
    )
    path = written(tmp_path, forward | reverse)
    with pytest.raises(gl.InputError, match=r'holds 2 recurrent layers; give prefix= one of "bidirectional/backward_l'):
        gl.load_weights(path, layout="keras", prefix="bidirectional")
    cells = [gl.load_weights(path, layout="keras", prefix=f"bidirectional/{n}_lstm") for n in ("forward", "backward")]
    outputs = gl.trace(gl.Network([gl.Bidirectional(*cells)]), x).outputs
    assert_normwise(outputs[..., :3], y, TOLERANCE["keras"], "forward", axis=None)
    expected = layout_loops.keras("lstm", reverse, x[::-1])[::-1]
    assert_normwise(outputs[..., 3:], expected, 1e-12, "reverse", axis=None)


def altered(name: str, **changes: Any) -> dict[str, Any]:
    """Return a case's tensors with some replaced, or taken away by None; "/" is written as "__"."""
    tensors = dict(case(name)[1])
    for key, value in changes.items():
        full = next((one for one in tensors if one.endswith(key.replace("__", "/"))), key.replace("__", "/"))
        tensors[full] = value
    return {key: value for key, value in tensors.items() if value is not None}


NOT_FINITE = np.full((9, 3), np.nan)
REFUSED = {
    "missing": (
        altered("torch/gru", bias_hh_l0=None),
        {},
        r'^tensor "bias_hh_l0" of shape \(9,\) is missing in model\.npz$',
    ),
    "a layer left out": (
        altered("torch/gru", weight_hh_l2=np.ones((9, 3))),
        {},
        r'^tensor "weight_hh_l1" of shape \(kH, H\) is missing',
    ),
    "a direction left out": (
        altered("torch/gru", weight_hh_l0_reverse=np.ones((9, 3))),
        {},
        r'^tensor "weight_ih_l0_reverse" of shape \(9, D\) is missing',
    ),
    "misshapen": (
        altered("torch/lstm", weight_ih_l0=np.ones((2, 12))),
        {},
        r'^tensor "weight_ih_l0" of model\.npz must have shape \(12, D\), got \(2, 12\): axis 0 is 2, not 12$',
    ),
    "no kind of cell": (
        altered("torch/lstm", weight_hh_l0=np.ones((6, 3))),
        {},
        r'tensor "weight_hh_l0" must have H times 1 \(RNN\), 3 \(GRU\) or 4 \(LSTM\) of H, got shape \(6, 3\)',
    ),
    "an upper layer of another width": (
        altered("torch/lstm-layers", weight_ih_l1=np.ones((12, 3))),
        {},
        r'"weight_ih_l1" of model\.npz must have shape \(12, 6\), got \(12, 3\)',
    ),
    "not finite": (altered("torch/gru", weight_hh_l0=NOT_FINITE), {}, r'"weight_hh_l0" of model\.npz must be finite'),
    "whole numbers": (
        altered("torch/gru", weight_hh_l0=np.ones((9, 3), int)),
        {},
        r'"weight_hh_l0" of model\.npz must be float64, float32, float16 or bfloat16, got int64',
    ),
    "two dtypes": (
        altered("torch/gru", weight_hh_l0=np.ones((9, 3), "float32")),
        {},
        r"all weights of a cell must have one dtype",
    ),
    "a projection": (altered("torch/lstm", weight_hr_l0=np.ones((2, 3))), {}, "has a projection"),
    "an RNN of unknown activation": (
        altered("torch/rnn"),
        {},
        r'is an RNN, whose activation is not in the file; give activation= one of "tanh", "relu"',
    ),
    "an activation where there is none": (altered("torch/gru"), {"activation": "tanh"}, "activation belongs to an RNN"),
    "a reset that contradicts": (altered("torch/gru"), {"reset": "before"}, 'is a GRU with reset="after"'),
    "a reset where there is none": (altered("torch/lstm"), {"reset": "before"}, "reset belongs to a GRU"),
    "an unknown activation": (altered("torch/rnn"), {"activation": "tanhh"}, 'did you mean "tanh"'),
    "several": (
        two_layers(),
        {},
        r'^model\.npz holds 2 recurrent layers; give prefix= one of "decoder\.gru", "encoder\.lstm"$',
    ),
    "an unknown prefix": (two_layers(), {"prefix": "encoder.lstn"}, r'did you mean "encoder\.lstm"'),
    "another layout": (
        altered("torch/gru"),
        {"layout": "keras"},
        r'holds no recurrent layer of layout="keras" \(recurrent_kernel\), but.* are those of layout="pytorch"',
    ),
    "an unknown layout": (altered("torch/gru"), {"layout": "torch"}, 'did you mean "pytorch"'),
    "Keras' GRU without bias": (
        altered("keras/gru-no-bias"),
        {"layout": "keras"},
        r"is a GRU without bias, so the place of its reset is not in the file; give reset=",
    ),
    "Keras' bias of another shape": (
        altered("keras/lstm", bias=np.ones((2, 12))),
        {"layout": "keras"},
        r"lstm_cell/bias\" of model\.npz must have shape \(12,\), got 2 axes",
    ),
    "Keras' kernel missing": (
        altered("keras/lstm", cell__kernel=None),
        {"layout": "keras"},
        r'^tensor "lstm/lstm_cell/kernel" of shape \(D, 12\) is missing',
    ),
    "Flax' bias missing": (
        altered("flax/linen-GRUCell", hn__bias=None),
        {"layout": "flax"},
        r'^tensor "params/cell/hn/bias" of shape \(3,\) is missing',
    ),
    "Flax' bias too many": (
        altered("flax/linen-LSTMCell") | {"params/cell/ii/bias": np.ones(3)},
        {"layout": "flax"},
        r'has "ii/bias", which Flax\' LSTM does not have; it has hf/bias',
    ),
    "Flax' kernel not square": (
        altered("flax/linen-SimpleCell", h__kernel=np.ones((3, 4))),
        {"layout": "flax", "activation": "tanh"},
        r'"params/cell/h/kernel" of model\.npz must have shape \(3, 3\), got \(3, 4\)',
    ),
    "Flax' other cell": (
        {f"{dense}/kernel": np.ones((3, 3)) for dense in ("if", "in", "hf", "hn")},
        {"layout": "flax"},
        "is an MGUCell",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_what_it_says_is_named(what: str, tmp_path: Path) -> None:
    tensors, options, message = REFUSED[what]
    path = written(tmp_path, tensors)
    with pytest.raises(gl.InputError, match=message) as refused:
        gl.load_weights(path, **({"layout": "pytorch"} | options))
    assert "\n" not in str(refused.value)


def test_files_that_are_not_what_they_say(tmp_path: Path) -> None:
    def refused(name: str, content: bytes | None, message: str) -> None:
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(gl.InputError, match=message) as found:
            gl.load_weights(path, layout="pytorch")
        assert "\n" not in str(found.value)

    refused("none.npz", None, "there is no file")
    refused("empty.npz", b"", "empty.npz is not a NumPy .npz archive")
    refused("text.npz", b"hello", "text.npz is not a NumPy .npz archive")
    refused("model.pt", b"hello", r"write one with safetensors\.torch\.save_file")
    refused("model.weights.h5", b"hello", r"write one with np\.savez")
    refused("model.txt", b"hello", r"read from \.safetensors and \.npz, got model\.txt$")
    np.save(tmp_path / "single.npy", np.ones(3))
    refused("single.npz", (tmp_path / "single.npy").read_bytes(), "a single array")
    whole = written(tmp_path, case("torch/gru")[1]).read_bytes()
    refused("cut.npz", whole[: len(whole) // 2], "cut.npz is not a NumPy .npz archive")
    broken = bytearray(whole)
    broken[broken.index(b"weight_hh_l0.npy") + 200] ^= 0xFF
    refused("flipped.npz", bytes(broken), 'tensor "weight_hh_l0" of flipped.npz cannot be read')


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_file_altered_anywhere_is_read_or_refused(suffix: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(8)
    path = written(tmp_path, case("torch/gru")[1], suffix)
    whole, said = path.read_bytes(), []
    for _ in range(300):
        altered = bytearray(whole)
        altered[rng.integers(len(whole) // 2)] = rng.integers(256)
        path.write_bytes(altered[: len(whole) if rng.random() < 0.9 else rng.integers(len(whole))])
        try:
            gl.load_weights(path, layout="pytorch")
        except gl.InputError as refused:
            said.append(str(refused))
    assert len(said) > 100
    assert not any("\n" in line for line in said)


class Dangerous:
    """Pickled, it would write a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    trap = np.array([Dangerous(tmp_path / "sprung")], dtype=object)
    path = written(tmp_path, altered("torch/gru", weight_hh_l0=trap))
    with pytest.raises(gl.InputError, match=r'"weight_hh_l0" of model\.npz cannot be read: Object arrays'):
        gl.load_weights(path, layout="pytorch")
    assert not (tmp_path / "sprung").exists()


def test_safetensors_that_are_not(tmp_path: Path) -> None:
    oracle("safetensors")
    path = tmp_path / "model.safetensors"
    for content in (b"", b"hello", (2**40).to_bytes(8, "little") + b"{}", b"\x02" + bytes(7) + b"[]"):
        path.write_bytes(content)
        with pytest.raises(gl.InputError, match=r"^model\.safetensors is not a safetensors file: "):
            gl.load_weights(path, layout="pytorch")
    written(tmp_path, altered("torch/gru", weight_hh_l0=np.ones((9, 3), "int8")), ".safetensors")
    with pytest.raises(gl.InputError, match=r'"weight_hh_l0" of model\.safetensors .*F64, F32, F16, BF16.* got I8'):
        gl.load_weights(path, layout="pytorch")


def test_without_safetensors_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    (tmp_path / "model.safetensors").write_bytes(b"")
    with pytest.raises(gl.InputError, match=r"needs safetensors: pip install 'gradlab\[weights\]'"):
        gl.load_weights(tmp_path / "model.safetensors", layout="pytorch")
