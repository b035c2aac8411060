"""What is done to tensors wherever they are: in lists, dicts and dataclasses."""

import dataclasses
from collections.abc import Callable
from typing import Any

import torch


def moved(value: Any, device: torch.device) -> Any:
    """Return tensors, and whatever holds some, on `device`."""
    # only pinned tensors are copied in the background, in the order of what the device is given to do
    return with_tensors(value, lambda tensor: tensor.to(device, non_blocking=tensor.device.type == 'cpu'))


def with_tensors(value: Any, function: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return tensors, and whatever holds some, with `function` of each tensor in its place."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if isinstance(value, list):
        return [with_tensors(item, function) for item in value]
    if isinstance(value, dict):
        return {name: with_tensors(item, function) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return type(value)(
            **{f.name: with_tensors(getattr(value, f.name), function) for f in dataclasses.fields(value)}
        )
    return value
