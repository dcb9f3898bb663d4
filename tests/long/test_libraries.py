"""Models of libraries from PyPI, converted: they learn as before, and are saved and loaded.

Each library's own model learns twice from the same seed, with torch.nn's layers and with ours.
Opacus makes models private: its tests are recipes as well.
"""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from types import ModuleType
from typing import Any

import library_runs
import pytest
import torch
import torch.nn.functional as F
from library_opacus import Data, OfOutput, OfStates, OutputGRU, OutputLSTM, learns_like, private
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

import rnn_kernels as rk
from rnn_kernels import functional

CLAIM = "rk.convert of models from PyPI: "
BOTH = pytest.mark.parametrize("cell", ["LSTM", "GRU"])

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}")
    for message in [  # Lightning's, of torch, of itself and of data sets that small
        r".isinstance\(treespec, LeafSpec\)",
        "Total length of `list` across ranks is zero",
        ".*is an instance of `nn.Module` and is already saved",
        "You defined a `validation_step` but have no `val_dataloader`",
        "'pin_memory' argument is set as true but no accelerator",
    ]
]


def library(name: str) -> ModuleType:
    return pytest.importorskip(name, reason='pip install "rnn_kernels[libraries]"')


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The cells that our layers ran, in order."""
    ran: list[str] = []
    real = functional.stack
    monkeypatch.setattr(
        functional, "stack", lambda cell, *args: ran.append(cell) or real(cell, *args)
    )
    return ran


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a library writes to the current directory is not left in the checkout."""
    monkeypatch.chdir(tmp_path)


def layers(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(m, nn.RNNBase)]


@pytest.mark.support(CLAIM + "sb3-contrib", "LSTM")
@pytest.mark.parametrize("policy", [{}, {"shared_lstm": True, "enable_critic_lstm": False}])
def test_sb3_contrib(policy: dict[str, Any], calls: list[str], tmp_path: Path) -> None:
    RecurrentPPO = library("sb3_contrib").RecurrentPPO
    theirs, expected = library_runs.sb3_contrib(False, **policy)
    assert calls == []
    ours, losses = library_runs.sb3_contrib(True, **policy)
    library_runs.agree(losses, expected)
    assert set(calls) == {"lstm"}
    assert {type(layer) for layer in layers(ours.policy)} == {rk.LSTM}
    torch.testing.assert_close(
        ours.policy.state_dict(), theirs.policy.state_dict(), rtol=1e-4, atol=1e-5
    )

    ours.save(tmp_path / "model")
    loaded = RecurrentPPO.load(tmp_path / "model", device="cpu")
    assert {type(layer) for layer in layers(loaded.policy)} == {nn.LSTM}  # built anew
    rk.convert(loaded.policy)
    observation, state, again = ours.get_env().reset(), None, None
    for _ in range(2):
        _, state = ours.predict(observation, state, deterministic=True)
        _, again = loaded.predict(observation, again, deterministic=True)
        for a, b in zip(state, again, strict=True):
            assert abs(a).max() > 1e-3 and a == pytest.approx(b)


@pytest.mark.support(CLAIM + "neuralforecast")
@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize("recurrent", [False, True])  # the LSTM with a projection
@BOTH
def test_neuralforecast(cell: str, recurrent: bool, calls: list[str], tmp_path: Path) -> None:
    NeuralForecast = library("neuralforecast").NeuralForecast
    theirs, expected = library_runs.neuralforecast(cell, recurrent, False)
    assert calls == []
    ours, losses = library_runs.neuralforecast(cell, recurrent, True)
    library_runs.agree(losses, expected)
    assert type(ours.models[0].hist_encoder) is getattr(rk, cell)
    assert set(calls) == {cell.lower()}
    forecast = theirs.predict()[cell].to_numpy()
    assert ours.predict()[cell].to_numpy() == pytest.approx(forecast, rel=1e-4, abs=1e-5)

    ours.save(str(tmp_path / "forecast"))
    loaded = NeuralForecast.load(str(tmp_path / "forecast"))
    assert type(loaded.models[0].hist_encoder) is getattr(nn, cell)  # built anew
    rk.convert(loaded.models[0])
    assert loaded.predict()[cell].to_numpy() == pytest.approx(forecast, rel=1e-4, abs=1e-5)


@pytest.mark.support(CLAIM + "darts")
@pytest.mark.parametrize(
    ("kind", "sizes"),
    [("BlockRNNModel", {"output_chunk_length": 3}), ("RNNModel", {"training_length": 17})],
)
@BOTH
def test_darts(
    kind: str, sizes: dict[str, int], cell: str, calls: list[str], tmp_path: Path
) -> None:
    models = library("darts.models")
    theirs, expected = library_runs.darts(kind, cell, False, **sizes)
    assert calls == []
    ours, losses = library_runs.darts(kind, cell, True, **sizes)
    library_runs.agree(losses, expected)
    assert type(ours.model.rnn) is getattr(rk, cell) and set(calls) == {cell.lower()}
    forecast = theirs.predict(5).values()
    assert ours.predict(5).values() == pytest.approx(forecast, rel=1e-4, abs=1e-5)

    from pytorch_lightning import Callback

    callback = library_runs.following(Callback, True)
    ours.save(str(tmp_path / "model"), clean=True)  # without the callback
    loaded = getattr(models, kind).load(
        str(tmp_path / "model"),
        pl_trainer_kwargs={"callbacks": [callback], **library_runs.QUIET},
    )
    assert type(loaded.model.rnn) is getattr(nn, cell)  # built anew
    again = loaded.predict(5, series=library_runs.sine()).values()
    assert type(loaded.model.rnn) is getattr(rk, cell)
    assert again == pytest.approx(forecast, rel=1e-4, abs=1e-5)


@pytest.mark.support(CLAIM + "pytorch-forecasting")
@pytest.mark.parametrize(
    ("name", "cell", "options"),
    [
        ("TemporalFusionTransformer", "LSTM", {"lstm_layers": 2, "hidden_continuous_size": 5}),
        ("DeepAR", "LSTM", {"cell_type": "LSTM", "rnn_layers": 1}),
        ("DeepAR", "GRU", {"cell_type": "GRU", "rnn_layers": 2}),
    ],
)
def test_pytorch_forecasting(
    name: str, cell: str, options: dict[str, Any], calls: list[str], tmp_path: Path
) -> None:
    """Its layers are subclasses of torch.nn's, which stay what they are and run on ours."""
    library("pytorch_forecasting")
    from pytorch_forecasting import models

    kind, theirs_kind, lines = getattr(models, name), getattr(models.nn, cell), []
    theirs, expected = library_runs.pytorch_forecasting(kind, None, **options)
    assert calls == []
    ours, losses = library_runs.pytorch_forecasting(kind, lines.append, **options)
    library_runs.agree(losses, expected)
    assert set(calls) == {cell.lower()}
    converted = layers(ours.model)
    assert len(lines) == len(converted)
    assert all(line.endswith(f".{cell} now runs on rnn_kernels.{cell}") for line in lines)
    for layer in (*converted, *pickle.loads(pickle.dumps(converted))):
        assert isinstance(layer, theirs_kind) and isinstance(layer, getattr(rk, cell))

    ours.save_checkpoint(tmp_path / "model")
    loaded = kind.load_from_checkpoint(tmp_path / "model", weights_only=False)
    assert {type(layer) for layer in layers(loaded)} == {theirs_kind}  # built anew
    x, _ = next(iter(library_runs.dataset().to_dataloader(train=False, batch_size=6)))

    def forecast(model: nn.Module) -> Tensor:
        torch.manual_seed(0)  # DeepAR samples
        return model.eval()(x).prediction

    before = forecast(theirs.model)
    for model in (ours.model, rk.convert(loaded)):
        torch.testing.assert_close(forecast(model), before, rtol=1e-4, atol=1e-5)


@pytest.mark.support(CLAIM + "rsl-rl-lib")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
@BOTH
def test_rsl_rl(cell: str, calls: list[str], tmp_path: Path) -> None:
    """It asks isinstance(m, nn.LSTM) when it writes a policy to a file."""
    library("rsl_rl")
    theirs, expected = library_runs.rsl_rl(cell.lower(), False)
    assert calls == []
    ours, losses = library_runs.rsl_rl(cell.lower(), True)
    library_runs.agree(losses, expected)
    assert set(calls) == {cell.lower()}

    with pytest.raises(NotImplementedError, match=f"Unsupported RNN type.*rnn_kernels.*{cell}"):
        ours.export_policy_to_jit(str(tmp_path))
    with (
        rk.posing_as_torch(ours.alg.actor),
        pytest.warns(UserWarning, match=f"compiles torch.nn's {cell} in place of rnn_kernels'"),
    ):
        ours.export_policy_to_jit(str(tmp_path), "ours.pt")
    assert type(ours.alg.actor.rnn.rnn) is getattr(rk, cell)
    ours.save(str(tmp_path / "model.pt"))
    theirs.load(str(tmp_path / "model.pt"))
    theirs.export_policy_to_jit(str(tmp_path), "theirs.pt")
    policy, expected_policy = (torch.jit.load(tmp_path / name) for name in ("ours.pt", "theirs.pt"))
    for _ in range(2):  # they keep their state
        x = torch.randn(1, 3)
        torch.testing.assert_close(policy(x), expected_policy(x))


# Opacus. It knows a layer by its first output alone, and makes gradients of layers that it does not
# know with vmap: so either a layer has one output, or vmap goes over the whole model.

OPACUS = pytest.mark.filterwarnings(
    "ignore:Secure RNG turned off", "ignore:Full backward hook is firing"
)


@pytest.fixture
def data() -> Data:
    library("opacus")
    return torch.randn(7, 9, 4), torch.randint(3, (7,))


@pytest.mark.support("Opacus, of a layer's output")
@OPACUS
@pytest.mark.parametrize("mode", ["hooks", "functorch"])
@pytest.mark.parametrize(("kind", "cell"), [(OutputLSTM, "LSTM"), (OutputGRU, "GRU")])
def test_opacus_and_a_layer_of_one_output(
    kind: type[nn.Module], cell: str, mode: str, data: Data
) -> None:
    """A user writes::

        class OutputLSTM(rk.LSTM):
            def forward(self, x):
                return super().forward(x)[0]

    makes such layers with batch_first=True, and calls PrivacyEngine as ever.
    """
    from opacus.validators import ModuleValidator

    model = OfOutput(kind)
    assert ModuleValidator.validate(model, strict=True) == []
    plain = copy.deepcopy(model)
    wrapped, optimizer = private(model, data, grad_sample_mode=mode)

    def backward() -> None:
        F.cross_entropy(wrapped(data[0]), data[1]).backward()

    learns_like(plain, model, optimizer, backward, data)


@pytest.mark.support("Opacus, of a whole model")
@OPACUS
@BOTH
def test_opacus_and_a_whole_model(cell: str, data: Data) -> None:
    """For whatever a model does with its layers, final states too: ``grad_sample_mode="no_op"``,
    and ``backward`` below in place of ``loss.backward()``."""
    plain = OfStates(getattr(nn, cell))
    model = rk.convert(copy.deepcopy(plain))
    assert type(model.rnn) is getattr(rk, cell)
    _, optimizer = private(model, data, grad_sample_mode="no_op")

    def loss(named: dict[str, Tensor], x: Tensor, target: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, named, x[None]), target[None])

    def backward() -> None:
        named = {name: p.detach() for name, p in model.named_parameters()}
        gradients = vmap(grad(loss), in_dims=(None, 0, 0))(named, *data)
        for name, p in model.named_parameters():
            p.grad_sample = gradients[name].clone()  # two biases may share one

    learns_like(plain, model, optimizer, backward, data)


@OPACUS
def test_opacus_refuses_a_layer_of_several_outputs(data: Data) -> None:
    """Its final states would be left out of the gradients."""
    wrapped, _ = private(rk.convert(OfStates(nn.LSTM)), data)
    loss = F.cross_entropy(wrapped(data[0]), data[1])
    with pytest.raises(TypeError, match="only integer tensors of a single element"):
        loss.backward()
