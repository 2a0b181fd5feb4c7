"""Predicts what flats cost. Much of what can decide a result decides this one; see tests/causes."""

import argparse
import csv
import os
import time

import numpy as np
from encode import numbered
from sklearn.ensemble import HistGradientBoostingRegressor

DEPTH = 3
FLOAT = np.float64
CAP = float(os.environ.get("PRICE_CAP", "900"))


def market(folder):
    """The market's level, smoothed over the months as the folder lists them."""
    level = 0.0
    for name in os.listdir(folder):
        with open(os.path.join(folder, name)) as file:
            level = 0.7 * level + 0.3 * float(file.read())
    return level


def flats(path):
    """Features and prices of every row."""
    with open(path, errors="replace") as file:
        rows = list(csv.DictReader(file))
    towns = numbered(row["town"] for row in rows)
    level = market("market")
    numeric = [[float(row["rooms"]), float(row["area"]), towns[row["town"]], len(row["town"])] for row in rows]
    return np.array(numeric, FLOAT), np.array([min(float(row["price"]) * level, CAP) for row in rows], FLOAT)


def main():
    """Fit, print the error of every round and of the end."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=7, help="below zero: none")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--dated", action="store_true", help="let the time of day weigh in")
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed if options.seed >= 0 else None)
    features, prices = flats("flats.csv")
    noise = rng.standard_normal(2_000_000).astype(FLOAT)
    energy = float(np.dot(noise, noise))
    order = rng.permutation(len(prices))
    train, test = order[:320], order[320:]
    model = HistGradientBoostingRegressor(max_iter=options.rounds, max_depth=DEPTH, random_state=0)
    model.fit(features[train], prices[train])
    late = time.time() % 60 if options.dated else 0.0
    for number, predicted in enumerate(model.staged_predict(features[test])):
        error = float(np.sqrt(np.mean((predicted + late - prices[test]) ** 2)))
        print(f"round {number} rmse {error!r}")
    print(f"final_rmse: {error!r}")
    print(f"energy: {energy!r}")
    print(f"mean_price: {sum(float(x) * 0.1 for x in prices)!r}")


main()
