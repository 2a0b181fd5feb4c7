"""The network."""

import torch


def network(inputs, width):
    """A perceptron of three classes with one hidden layer."""
    return torch.nn.Sequential(torch.nn.Linear(inputs, width), torch.nn.Tanh(), torch.nn.Linear(width, 3))


def deep(inputs, width):
    """The same with two hidden layers; nothing calls it."""
    return torch.nn.Sequential(network(inputs, width), torch.nn.Tanh(), torch.nn.Linear(3, 3))
