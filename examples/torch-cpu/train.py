"""Fit a small multilayer perceptron to a noisy spiral on the CPU; one line of JSON an epoch."""

import argparse
import json
import math

import torch
from torch import nn


def spirals(points: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Two interleaved spirals: coordinates (points, 2) and classes (points,)."""
    radius = torch.rand(points, generator=generator)
    label = torch.randint(0, 2, (points,), generator=generator)
    angle = 3 * math.pi * radius + math.pi * label
    noise = 0.04 * torch.randn(points, 2, generator=generator)
    return torch.stack((radius * angle.cos(), radius * angle.sin()), dim=1) + noise, label


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--lr", type=float, default=1e-2)
    arguments = parser.parse_args()

    torch.manual_seed(arguments.seed)
    torch.use_deterministic_algorithms(True)
    generator = torch.Generator().manual_seed(arguments.seed)
    x_train, y_train = spirals(2048, generator)
    x_test, y_test = spirals(512, generator)

    model = nn.Sequential(nn.Linear(2, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 2))
    optimizer = torch.optim.Adam(model.parameters(), lr=arguments.lr)
    criterion = nn.CrossEntropyLoss()

    with open("history.jsonl", "w", encoding="utf-8") as history:
        for epoch in range(1, arguments.epochs + 1):
            for rows in torch.randperm(len(x_train), generator=generator).split(128):
                optimizer.zero_grad()
                loss = criterion(model(x_train[rows]), y_train[rows])
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                scores = model(x_test)
                test_loss = criterion(scores, y_test).item()
                accuracy = (scores.argmax(dim=1) == y_test).float().mean().item()
            history.write(json.dumps({"step": epoch, "test_loss": test_loss, "accuracy": accuracy}) + "\n")
    print(f"test loss {test_loss:.6f}, accuracy {accuracy:.6f}")


if __name__ == "__main__":
    main()
