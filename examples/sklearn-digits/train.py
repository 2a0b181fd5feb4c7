"""Train a linear classifier on the handwritten digits that ship inside scikit-learn."""

import argparse
import json

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--alpha", type=float, default=1e-3)
    arguments = parser.parse_args()

    digits = load_digits()
    x_train, x_test, y_train, y_test = train_test_split(
        digits.data / 16.0, digits.target, test_size=0.3, random_state=arguments.seed, stratify=digits.target
    )
    model = SGDClassifier(loss="log_loss", alpha=arguments.alpha, random_state=arguments.seed)
    order = np.random.default_rng(arguments.seed)

    losses, accuracies = [], []
    for epoch in range(1, arguments.epochs + 1):
        rows = order.permutation(len(x_train))
        model.partial_fit(x_train[rows], y_train[rows], classes=digits.target_names)
        losses.append(float(log_loss(y_test, model.predict_proba(x_test))))
        accuracies.append(float(accuracy_score(y_test, model.predict(x_test))))
        print(f"epoch {epoch:2d}  loss {losses[-1]:.6f}  accuracy {accuracies[-1]:.6f}")

    with open("metrics.json", "w", encoding="utf-8") as file:
        json.dump({"loss": losses, "accuracy": accuracies, "test_rows": len(y_test)}, file, indent=2)
        file.write("\n")


if __name__ == "__main__":
    main()
