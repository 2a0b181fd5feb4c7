"""Fit a line on two CPU processes that average their gradients over gloo; each rank has a seed of its own."""

import argparse
import os

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--steps", type=int, default=30)
    arguments = parser.parse_args()

    # Without a network there is the loopback device alone.
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    distributed.init_process_group("gloo")
    rank = distributed.get_rank()
    torch.manual_seed(arguments.seed + rank)
    torch.set_num_threads(1)

    x = torch.rand(256, 1)
    y = 3 * x - 1 + 0.01 * torch.randn(256, 1)
    model = DistributedDataParallel(nn.Linear(1, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    for step in range(arguments.steps):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        distributed.all_reduce(loss)
        if rank == 0 and (step + 1) % 10 == 0:
            print(f"step {step + 1}  loss {loss.item() / distributed.get_world_size():.9f}", flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    main()
