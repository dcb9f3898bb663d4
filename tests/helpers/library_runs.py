"""How models of libraries learn a little, converted or not, for test_libraries.py.

Each gives what it trained, and the losses of its steps. Libraries are imported where they are
needed, and write no files but those that a test asks for.
"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rnn_kernels as rk

Run = tuple[Any, list[float]]

# For Lightning's Trainer, which three of the libraries train with.
QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def agree(ours: list[float], theirs: list[float]) -> None:
    """The losses of a few steps are the same, and not of one value.

    They are few, for training amplifies rounding. The absolute tolerance is for those of policies,
    which are means of terms about 1 that cancel.
    """
    assert len(set(theirs)) > 1 and all(map(math.isfinite, theirs))
    assert ours == pytest.approx(theirs, rel=1e-5, abs=1e-6)


def following(callback: type, convert: bool) -> Any:
    """A callback of Lightning's: converts the model that it meets, and writes down its losses."""

    class Following(callback):
        def __init__(self) -> None:
            self.losses: list[float] = []

        def setup(self, trainer: Any, pl_module: nn.Module, stage: str) -> None:
            if convert:
                rk.convert(pl_module)

        def on_train_batch_end(
            self, trainer: Any, pl_module: nn.Module, outputs: dict[str, Tensor], *rest: Any
        ) -> None:
            self.losses.append(outputs["loss"].item())

    return Following()


def sb3_contrib(convert: bool, **policy: Any) -> Run:
    """A RecurrentPPO."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.logger import KVWriter, Logger

    losses: list[float] = []

    class Writer(KVWriter):
        def write(self, key_values: dict[str, Any], *rest: Any) -> None:
            losses.extend(value for key, value in key_values.items() if key.endswith("loss"))

        def close(self) -> None:
            pass

    # Episodes end within a rollout, after 10 steps or more.
    model = RecurrentPPO(
        "MlpLstmPolicy",
        make_vec_env("CartPole-v1", n_envs=3, seed=0),
        n_steps=40,
        batch_size=30,
        n_epochs=2,
        learning_rate=0.01,
        seed=0,
        device="cpu",
        policy_kwargs={"lstm_hidden_size": 13, "n_lstm_layers": 2, **policy},
    )
    if convert:
        rk.convert(model.policy)
    model.set_logger(Logger(None, [Writer()]))
    return model.learn(3 * 120), losses


def neuralforecast(cell: str, recurrent: bool, convert: bool) -> Run:
    """A NeuralForecast with one model."""
    import numpy as np
    import pandas as pd
    from neuralforecast import NeuralForecast, models

    model = getattr(models, cell)(
        h=4,
        input_size=11,
        encoder_hidden_size=9,
        recurrent=recurrent,
        learning_rate=0.02,
        max_steps=5,
        val_check_steps=5,
        random_seed=1,
        **QUIET,
    )
    if convert:
        rk.convert(model)
    forecast = NeuralForecast(models=[model], freq=1)
    t = np.arange(90)
    series = pd.DataFrame({"unique_id": "sine", "ds": t, "y": np.sin(t / 5)})
    forecast.fit(series, use_init_models=True)  # a deepcopy of the model
    return forecast, [loss for _, loss in forecast.models[0].train_trajectories]


def sine() -> Any:
    import numpy as np
    from darts import TimeSeries

    return TimeSeries.from_values(np.sin(np.arange(60) / 5).astype(np.float32))


def darts(kind: str, cell: str, convert: bool, **sizes: int) -> Run:
    """A forecasting model. It makes its network within fit, where a callback meets it."""
    from darts import models
    from pytorch_lightning import Callback

    callback = following(Callback, convert)
    model = getattr(models, kind)(
        model=cell,
        hidden_dim=9,
        n_rnn_layers=2,
        dropout=0.0,
        input_chunk_length=11,
        batch_size=8,
        n_epochs=1,
        random_state=1,
        pl_trainer_kwargs={"callbacks": [callback], **QUIET},
        **sizes,
    )
    return model.fit(sine()), callback.losses


def dataset() -> Any:
    """For pytorch-forecasting: two series, with histories of 2 to 9 steps."""
    import numpy as np
    import pandas as pd
    from pytorch_forecasting import TimeSeriesDataSet

    frames = []
    for group, length in [("a", 40), ("b", 33)]:
        t = np.arange(length)
        frames.append(pd.DataFrame({"t": t, "group": group, "y": np.sin(t / 4 + length)}))
    return TimeSeriesDataSet(
        pd.concat(frames, ignore_index=True),
        time_idx="t",
        target="y",
        group_ids=["group"],
        min_encoder_length=2,
        max_encoder_length=9,
        min_prediction_length=3,
        max_prediction_length=3,
        time_varying_known_reals=["t"],
        time_varying_unknown_reals=["y"],
    )


def pytorch_forecasting(kind: Any, report: Any, **options: Any) -> Run:
    """Lightning's Trainer with a model, converted if there is somebody to report to."""
    from lightning.pytorch import Callback, Trainer

    torch.manual_seed(0)
    data = dataset()
    model = kind.from_dataset(
        data, hidden_size=7, dropout=0.0, learning_rate=0.01, log_interval=-1, **options
    )
    if report is not None:
        rk.convert(model, report=report)
    callback = following(Callback, False)
    trainer = Trainer(max_steps=4, callbacks=[callback], **QUIET)
    trainer.fit(model, data.to_dataloader(batch_size=6))
    return trainer, callback.losses


def rsl_rl(cell: str, convert: bool) -> Run:
    """A runner of PPO."""
    from rsl_rl.env import VecEnv
    from rsl_rl.runners import OnPolicyRunner
    from tensordict import TensorDict

    class Drifting(VecEnv):
        """Five points that actions push; each starts anew every seven steps."""

        num_envs, num_actions, max_episode_length, device, cfg = 5, 2, 7, "cpu", {}

        def __init__(self) -> None:
            self.episode_length_buf = torch.arange(5)
            self.x = torch.linspace(-1, 1, 15).view(5, 3)

        def get_observations(self) -> TensorDict:
            return TensorDict({"seen": self.x.clone()}, [5])

        def step(self, actions: Tensor) -> tuple[TensorDict, Tensor, Tensor, dict]:
            self.episode_length_buf = (self.episode_length_buf + 1) % 7
            ended = self.episode_length_buf == 0
            self.x = 0.9 * self.x + 0.1 * actions.sum(1, keepdim=True)
            self.x[ended] = 0.5
            return self.get_observations(), -self.x.square().sum(1), ended.long(), {}

    torch.manual_seed(0)
    net = {"class_name": "RNNModel", "rnn_type": cell, "rnn_hidden_dim": 9, "hidden_dims": [6]}
    settings = {
        "algorithm": {"class_name": "PPO", "num_learning_epochs": 2, "num_mini_batches": 1},
        "actor": {**net, "distribution_cfg": {"class_name": "GaussianDistribution"}},
        "critic": {**net},
        "obs_groups": {"actor": ["seen"], "critic": ["seen"]},
        "num_steps_per_env": 12,
        "save_interval": 1,
    }
    runner = OnPolicyRunner(Drifting(), settings)
    if convert:
        rk.convert(runner.alg.actor)
        rk.convert(runner.alg.critic)
    losses: list[float] = []
    update = runner.alg.update

    def watched() -> dict[str, float]:
        found = update()
        losses.extend(found.values())
        return found

    runner.alg.update = watched
    runner.learn(3)
    return runner, losses
