"""Rewrite the fixtures of this folder with the libraries whose formats they are; see README.md.

Run it with a Python that has: mlflow tensorboard tensorboardX torch wandb dvclive lightning keras.
`python generate.py [NAME…]` works in a folder of its own and puts the files that carry metrics here; each function
is one folder.
"""

import os
import shutil
import socket
import sqlite3
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
LOSSES = (0.9123456789012345, 0.5, 0.1234567890123456)


def tensorboard():
    """torch.utils.tensorboard with its default folder, and add_hparams, which makes a run of its own."""
    import torch
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(log_dir="tensorboard/runs/Nov24_12-00-00_host")
    for step, loss in enumerate(LOSSES):
        writer.add_scalar("Loss/train", loss, step * 10)
    writer.add_histogram("weights", torch.ones(3), 0, bins=[0.0, 1.0, 2.0])
    writer.add_text("note", "not a number", 0)
    writer.add_hparams({"lr": 0.1}, {"hparam/accuracy": 0.75})
    writer.close()


def tensorboard_tensors():
    """Scalars as tensors: torch's new_style, as TensorFlow 2 and Keras write them; a folder for each phase."""
    from torch.utils.tensorboard import SummaryWriter

    for phase in ("train", "validation"):
        writer = SummaryWriter(log_dir=f"tensorboard-tensors/logs/{phase}")
        for step, loss in enumerate(LOSSES):
            writer.add_scalar("epoch_loss", loss * (2 if phase == "validation" else 1), step, new_style=True)
        writer.close()


def tensorboardx():
    """tensorboardX."""
    from tensorboardX import SummaryWriter

    writer = SummaryWriter(logdir="tensorboardx/out")
    for step, loss in enumerate(LOSSES):
        writer.add_scalar("loss", loss, step)
    writer.close()


def mlflow_files():
    """MLflow's file store, with a nested metric name."""
    import mlflow

    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"
    mlflow.set_tracking_uri(Path("mlflow-files/mlruns").absolute().as_uri())
    _mlflow(mlflow)
    for path in Path("mlflow-files/mlruns").rglob("meta.yaml"):
        path.write_text(path.read_text().replace(str(Path.cwd()), "/project"))
    for path in Path("mlflow-files/mlruns").rglob("tags"):
        shutil.rmtree(path)


def mlflow_sqlite():
    """MLflow's SQLite store."""
    import mlflow

    mlflow.set_tracking_uri("sqlite:///mlflow-sqlite/mlflow.db")
    mlflow.create_experiment("test", artifact_location="mlruns/1")
    mlflow.set_experiment("test")
    _mlflow(mlflow)
    # The whole of MLflow's schema is 700 KB; what metrics need is copied out of it, declared as MLflow did.
    whole = sqlite3.connect("mlflow-sqlite/mlflow.db")
    Path("mlflow-sqlite/small.db").unlink(missing_ok=True)
    small = sqlite3.connect("mlflow-sqlite/small.db")
    small.execute("PRAGMA page_size = 512")
    for table in ("experiments", "runs", "metrics", "latest_metrics"):
        (sql,) = whole.execute(
            "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)
        ).fetchone()
        small.execute(sql)
        rows = whole.execute(f"SELECT * FROM {table}").fetchall()
        if rows:
            small.executemany(f"INSERT INTO {table} VALUES ({','.join('?' * len(rows[0]))})", rows)
    small.commit()
    small.close()
    whole.close()
    Path("mlflow-sqlite/small.db").replace("mlflow-sqlite/mlflow.db")


def _mlflow(mlflow):
    with mlflow.start_run():
        mlflow.log_param("alpha", 0.5)
        mlflow.log_metric("rmse", 0.7931640229276851)
        for step, loss in enumerate(LOSSES):
            mlflow.log_metric("val/loss", loss, step=step)
        mlflow.log_metric("bad", float("nan"))


def wandb_offline():
    """W&B without a network."""
    os.environ |= {
        "WANDB_MODE": "offline",
        "WANDB_SILENT": "true",
        "WANDB_DIR": str(Path("wandb-offline").absolute()),
    }
    import wandb

    run = wandb.init(
        project="p",
        settings=wandb.Settings(x_disable_stats=True, x_disable_meta=True, disable_git=True, console="off"),
    )
    for step, loss in enumerate(LOSSES):
        run.log({"loss": loss, "eval": {"acc": 1 - loss}, "note": "text"}, step=step * 5)
    run.summary["best"] = 0.987654321
    run.finish()
    for path in Path("wandb-offline").rglob("*"):
        if path.is_symlink() or (path.is_file() and path.suffix != ".wandb"):
            path.unlink()


def dvclive():
    """DVCLive, without a repository."""
    from dvclive import Live

    with Live("dvclive/dvclive", save_dvc_exp=False, report=None, dvcyaml=None) as live:
        for loss in LOSSES:
            live.log_metric("train/loss", loss)
            live.log_metric("acc", 1 - loss)
            live.next_step()
        live.log_metric("test/f1", 0.875, plot=False)


def lightning():
    """Lightning's CSVLogger, as a Trainer uses it."""
    from lightning.pytorch.loggers import CSVLogger

    logger = CSVLogger("lightning", name="lightning_logs")
    logger.log_hyperparams({"lr": 0.1})
    for step, loss in enumerate(LOSSES):
        logger.log_metrics({"train_loss": loss, "epoch": step}, step=step * 10)
        logger.log_metrics({"val_acc": 1 - loss, "epoch": step}, step=step * 10 + 9)
        logger.save()
    logger.finalize("success")


def keras():
    """Keras' CSVLogger in a real fit."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras as k
    import numpy as np

    k.utils.set_random_seed(0)
    model = k.Sequential([k.layers.Input((2,)), k.layers.Dense(1)])
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
    Path("keras").mkdir(exist_ok=True)
    x = np.arange(16, dtype="float32").reshape(8, 2) / 16
    y = x.sum(axis=1)
    log = k.callbacks.CSVLogger("keras/training.log")
    with Path("keras/stdout.txt").open("w") as out:
        sys.stdout, old = out, sys.stdout
        try:
            model.fit(x, y, epochs=3, validation_split=0.25, callbacks=[log], verbose=1)
        finally:
            sys.stdout = old


ALL = (
    tensorboard,
    tensorboard_tensors,
    tensorboardx,
    mlflow_files,
    mlflow_sqlite,
    wandb_offline,
    dvclive,
    lightning,
    keras,
)

if __name__ == "__main__":
    work = Path(tempfile.mkdtemp())
    os.chdir(work)
    socket.gethostname = lambda: "host"
    os.environ |= {"USER": "user", "LOGNAME": "user", "MLFLOW_DISABLE_TELEMETRY": "true"}
    for make in ALL:
        if len(sys.argv) > 1 and make.__name__ not in sys.argv[1:]:
            continue
        name = make.__name__.replace("_", "-")
        Path(name).mkdir()
        make()
        shutil.rmtree(HERE / name, ignore_errors=True)
        for path in (work / name).rglob("*"):
            if path.is_file():
                target = HERE / path.relative_to(work)
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
    shutil.rmtree(work)
