"""Makes the .pt files beside it, where torch is installed (it was 2.13, for the CPU): `python make_pytorch.py`."""

from collections import OrderedDict
from pathlib import Path

import torch

HERE = Path(__file__).parent


def state(change: float = 0.0) -> dict[str, object]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(OrderedDict(first=torch.nn.Linear(6, 4), second=torch.nn.Linear(4, 2)))
    with torch.no_grad():
        model.second.weight[1, 2] += change
    return model.state_dict()


def checkpoint(epoch: int, step: float) -> dict[str, object]:
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
    with torch.no_grad():
        optimizer.state[model.weight]["exp_avg"][0, 1] += step
    return {
        "epoch": epoch,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "shape": model.weight.shape,
        "dtype": torch.float32,
        "name": "adam",
        "history": [0.5, 0.25],
    }


def odd(change: float) -> dict[str, object]:
    wide = torch.arange(12, dtype=torch.float32).reshape(3, 4)
    wide[1, 2] += change
    return {
        "transposed": wide.t(),
        "tail": wide[1:],
        "expanded": torch.ones(1).expand(5),
        "brain": wide.to(torch.bfloat16),
        "eight": wide.to(torch.float8_e4m3fn),
        "complex": torch.complex(wide, wide),
        "whole": torch.arange(3),
        "scalar": torch.tensor(1.5),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(torch.zeros(2)),
    }


if __name__ == "__main__":
    torch.save(state(), HERE / "state-a.pt")
    torch.save(state(0.125), HERE / "state-b.pt")
    torch.save(checkpoint(3, 0.0), HERE / "checkpoint-a.pt")
    torch.save(checkpoint(4, 0.5), HERE / "checkpoint-b.pt")
    torch.save(odd(0.0), HERE / "odd-a.pt")
    torch.save(odd(1.0), HERE / "odd-b.pt")
    torch.save(torch.nn.Linear(2, 2), HERE / "whole-module.pt")
    torch.save(state(), HERE / "legacy.pt", _use_new_zipfile_serialization=False)
