"""The features that a student has to learn, its errors, and a table of the errors of networks."""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from distill_batches import take
from distill_crops import LEVELS
from distill_networks import Vgg, as_input, features_at

TEMPERATURE = 0.5
"""Temperature of the softmax in `ranking_error`, in standard deviations of the target's cosines."""
EVALUATION_BATCH = 8
"""Number of crops for evaluation in a batch; `evaluate` compares their positions."""


class Targets(nn.Module):
    """Module that computes the targets, which are the features that the student has to learn.

    A target consists of the teacher's features, divided by their norm, and of the projection of
    these on their first principal directions, divided by its own norm. The projection is included
    because patches match better in fewer dimensions. The cosine of two targets is the mean of the
    cosine of their features and the cosine of their projections. The norm of a target is the norm
    of the teacher's features.

    The directions are computed from the features in `pools`. `widths` gives the number of
    directions of each level.
    """

    def __init__(self, pools: list[dict[str, np.ndarray]], widths: Mapping[int, int]) -> None:
        super().__init__()
        for level in LEVELS:
            self.register_buffer(f"directions{level}", principal(pools, level)[:, : widths[level]])

    def forward(self, features: dict[int, torch.Tensor]) -> dict[int, torch.Tensor]:
        """Return the targets (.., D) for the teacher's features (.., C) at each level."""
        return {level: self.join(level, own) for level, own in features.items()}

    def join(self, level: int, own: torch.Tensor) -> torch.Tensor:
        """Return the targets (.., D) for the teacher's features (.., C) at one level."""
        raw = F.normalize(own, dim=-1)
        projected = F.normalize(raw @ self.get_buffer(f"directions{level}"), dim=-1)
        return torch.cat([raw, projected], -1) * (own.norm(dim=-1, keepdim=True) / math.sqrt(2))


def principal(pools: list[dict[str, np.ndarray]], level: int) -> torch.Tensor:
    """Return the principal directions of a level's features in all pools, as columns of (C, C).

    They are the right singular vectors of the features divided by their norm, sorted by singular
    value, largest first. The mean of the features is not subtracted.
    """
    gram = 0
    for pool in pools:
        features = torch.from_numpy(np.array(pool[f"features{level}"], np.float64))
        rows = F.normalize(features.flatten(0, 1), dim=1)
        gram = gram + rows.T @ rows
    return torch.linalg.eigh(gram).eigenvectors.flip(1).float()


# -- errors ----------------------------------------------------------------------------------------
# Each function but `misses` divides its error by the error of a student that has learned nothing,
# so that 1 means "has learned nothing". A row of an array is the features at one position.


def relative_error(value: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of `value`, divided by the variance of the rows of `target`."""
    return (value - target).square().mean() / (target - target.mean(0)).square().mean()


def relational_error(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the mean squared error of the cosines between rows of a group, as a relative error.

    The error of each group is divided by the variance of the target's N x N cosines. The result is
    the mean over the groups.

    `student` is (.., N, c), and `target` is (.., N, C), where the first axes number the groups.
    """
    ours, theirs = _cosines(student), _cosines(target)
    return ((ours - theirs).square() / _variance(theirs)).mean()


def ranking_error(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the KL divergence from the target's ranking to the student's, as a relative error.

    A ranking is the softmax over the cosines of a row with the other rows of its group. The
    divergence is divided by the divergence from the target's ranking to a uniform distribution.

    `student` is (.., N, c), and `target` is (.., N, C).
    """
    ours, theirs = _cosines(student), _cosines(target)
    heat = TEMPERATURE * _variance(theirs).sqrt()
    itself = torch.eye(theirs.shape[-1], dtype=torch.bool, device=theirs.device)
    ours, theirs = ((cosines / heat).masked_fill(itself, -1e4).log_softmax(-1) for cosines in (ours, theirs))
    share = theirs.exp()
    return (share * (theirs - ours)).sum() / (share * (theirs + math.log(theirs.shape[-1] - 1))).sum()


def norm_error(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the relative error of the norms of the rows, each divided by the mean norm."""
    ours, theirs = student.norm(dim=1), target.norm(dim=1)
    return relative_error(ours / ours.mean(), theirs / theirs.mean())


def linear_error(student: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the relative error of the best affine map from (N, c) to (N, C), by least squares.

    A small ridge term keeps the system regular.
    """
    design = torch.cat([student / student.square().mean().sqrt(), torch.ones(len(student), 1)], 1).double()
    gram = design.T @ design
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return relative_error(design @ torch.linalg.solve(gram + ridge, design.T @ target.double()), target)


def misses(student, target, among: tuple[int, ...] = (1, 5)) -> list[float]:
    """Return how often the target's nearest neighbour is not among the student's k nearest.

    The result has the share of such rows (0 to 1) for each k of `among`. If `student` and `target`
    are tensors, each row searches among the other rows. If they are pairs of tensors, each row of
    the first tensor searches among the rows of the second.
    """
    within = isinstance(student, torch.Tensor)
    cosines = []
    for rows in (student, target):
        queries, keys = (F.normalize(part, dim=1) for part in ((rows, rows) if within else rows))
        cosines.append((queries @ keys.T).fill_diagonal_(-2) if within else queries @ keys.T)
    ours, nearest = cosines[0], cosines[1].argmax(1, keepdim=True)
    rank = (ours > ours.gather(1, nearest)).sum(1)
    return [(rank >= k).float().mean().item() for k in among]


def _cosines(rows: torch.Tensor) -> torch.Tensor:
    directions = F.normalize(rows, dim=-1)
    return directions @ directions.mT


def _variance(cosines: torch.Tensor) -> torch.Tensor:
    return cosines.var(dim=(-2, -1), keepdim=True)


# -- evaluation ------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(network: Vgg, pool: dict[str, np.ndarray], targets: Targets) -> dict[str, list[float]]:
    """Return kind of error -> error of each level, on held-back photos and their stylised versions.

    `relational` is a mean over batches. `within 1` and `within 5` are means of `misses` over crops,
    where a position searches within its crop. `across 1` and `across 5` are means of `misses` over
    batches, where a position of a photo searches in all stylised versions of the batch.
    """
    errors = {kind: [] for kind in ("linear", "relational", "norm", "within 1", "within 5", "across 1", "across 5")}
    pairs = {level: [] for level in LEVELS}
    for start in range(0, len(pool["images"]), EVALUATION_BATCH):
        images, index, features = take(pool, slice(start, start + EVALUATION_BATCH))
        target = targets(features)
        for level, maps in network(as_input(images)).items():
            pairs[level].append((features_at(maps, index[level]), target[level]))
    for level in LEVELS:
        batches = [[rows.flatten(0, 1) for rows in pair] for pair in pairs[level]]
        joined = [torch.cat(part) for part in zip(*batches, strict=True)]
        errors["linear"].append(linear_error(*joined).item())
        errors["relational"].append(float(np.mean([relational_error(*pair).item() for pair in batches])))
        errors["norm"].append(norm_error(*joined).item())
        within = [misses(*crop) for pair in pairs[level] for crop in zip(*pair, strict=True)]
        across = [
            misses(*((rows[::2].flatten(0, 1), rows[1::2].flatten(0, 1)) for rows in pair)) for pair in pairs[level]
        ]
        for name, found in (("within", within), ("across", across)):
            for k, mean in zip((1, 5), np.mean(found, 0), strict=True):
                errors[f"{name} {k}"].append(float(mean))
    return errors


def describe(errors: Mapping[str, dict[str, list[float]]]) -> str:
    """Return a table of errors: a line for each kind and network, and a column for each level."""
    wide = max(map(len, errors))
    lines = [f"{'held-back errors':16}  {'':{wide}}  " + "  ".join(f"relu{level}_1" for level in LEVELS)]
    for kind in next(iter(errors.values())):
        for name, own in errors.items():
            lines.append(f"{kind:16}  {name:{wide}}  " + "  ".join(f"{error:7.4f}" for error in own[kind]))
    return "\n".join(lines)
