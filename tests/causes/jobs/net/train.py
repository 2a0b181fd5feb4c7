"""Trains a small network on points. Much of what can decide a result decides this one; see tests/causes."""

import argparse
import csv
import glob
import os

import torch
from layers import network
from torch.utils.data import DataLoader, TensorDataset

DTYPE = torch.float32
RATE = 0.05
MOMENTUM = float(os.environ.get("TRAIN_MOMENTUM", "0.9"))


def points():
    """Features and classes of all parts, as the folder lists them."""
    rows = []
    for path in glob.glob("parts/*.csv"):
        with open(path) as file:
            rows += list(csv.DictReader(file))
    classes = {name: number for number, name in enumerate({row["side"] for row in rows})}
    features = torch.tensor([[float(row[f"x{n}"]) for n in range(6)] for row in rows], dtype=DTYPE)
    return features, torch.tensor([classes[row["side"]] for row in rows])


def main():
    """Train, print the loss of every epoch and the accuracy."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=7, help="below zero: none")
    parser.add_argument("--width", type=int, default=16)
    options = parser.parse_args()
    if options.seed >= 0:
        torch.manual_seed(options.seed)
    features, classes = points()
    scale = torch.rand(1_000_000, dtype=DTYPE).sum() / 500_000
    model = network(features.shape[1], options.width).to(DTYPE)
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM)
    batches = DataLoader(TensorDataset(features * scale, classes), batch_size=32, shuffle=True)
    for epoch in range(12):
        total = 0.0
        for x, y in batches:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            total += loss.item()
        print(f"epoch {epoch} loss {total / len(batches)!r}")
    with torch.no_grad():
        final = torch.nn.functional.cross_entropy(model(features * scale), classes).item()
    print(f"final_loss: {final!r}")


main()
