"""Train `vgg19-compact`, a quarter-width VGG-19, to order patches as a teacher network does.

    python tools/distill.py TEACHER.onnx PHOTOS_FOLDER -o RUN_FOLDER [--steps N] [--seed S] [--resume]
    python tools/distill.py TEACHER.onnx PHOTOS_FOLDER --evaluate WEIGHTS.safetensors

Development only (extra `distill`: torch, onnxruntime, safetensors, pillow, numpy).  The teacher is any ONNX model that
takes RGB in 0..1 as (1, 3, H, W) and returns `relu1_1` .. `relu5_1` with strides 1, 2, 4, 8, 16.

1. Pool.  Augmented random crops go once through the teacher; a random sample of its features is kept as float16.
   The student meets each crop several times: the teacher would otherwise cost as much as the training.
2. Training.  At every level, on positions sampled from all the crops of a batch (N positions, c channels):
   `linear`      a learned map of the student's features, F / rms(F) W + b, regresses the teacher's;
   `relational`  the N x N cosines among the student's positions equal the teacher's ("Relational Knowledge
                 Distillation", Park et al., CVPR 2019): what matching needs, which sees only cosines;
   `norm`        |F| relative to its mean is the teacher's: the method blends levels by the norm map.
   Each is a mean squared error over the variance of the teacher's value, so 1 means "knows nothing".
3. The optimiser is Muon for the kernels and AdamW for the rest; the rate falls to zero by a cosine.

A step depends only on (seed, step) and the step before, so a killed run resumes to the same weights (same machine, same
number of threads).  `--steps` may change at `--resume`: the rate follows step / steps.
"""

import argparse
import hashlib
import math
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from analogy.networks.export import Network, export
from analogy.networks.models import Card

from distill_pool import (
    EVALUATION,
    LEVELS,
    OUTPUTS,
    SIDES,
    augmented_crop,
    batch_of,
    list_photos,
    load_teacher,
    make_pool,
    read_held_back,
    read_pool,
)  # fmt: skip

WIDTHS = {1: 16, 2: 32, 3: 64, 4: 128, 5: 128}
LAYERS = [f"conv{level}_{i + 1}" for level, count in zip(LEVELS, (2, 2, 4, 4, 1), strict=True) for i in range(count)]
LEVEL_WEIGHT = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.5, 5: 2.0}  # the deep levels are the hardest, and start the search
TERMS = {"linear": 1.0, "relational": 4.0, "norm": 0.5}
PEAK_RATE = {"muon": 8e-3, "adamw": 5e-3}
WARM_UP = 100
WEIGHTS_FILE = "vgg19-compact.safetensors"


class Student(nn.Module):
    """VGG-19 up to relu5_1 with `WIDTHS` channels; kernels are kept as matrices (out, 9 * in), in the order HWI."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.biases = nn.ParameterDict(), nn.ParameterDict()
        channels = 3
        for name in LAYERS:
            width = WIDTHS[int(name[4])]
            kernel = torch.randn(width, 9 * channels) * math.sqrt(2 / (9 * channels))  # He et al. 2015
            self.kernels[name], self.biases[name] = nn.Parameter(kernel), nn.Parameter(torch.zeros(width))
            channels = width

    def kernel(self, name: str) -> torch.Tensor:
        """The kernel as (out, in, 3, 3), channels last in memory."""
        matrix = self.kernels[name]
        return matrix.view(len(matrix), 3, 3, -1).permute(0, 3, 1, 2)

    def forward(self, image: torch.Tensor) -> dict[int, torch.Tensor]:
        """(B, 3, H, W) RGB in 0..1 -> {level: (B, h, w, c)}, the features after relu{level}_1."""
        x, features = ((image - 0.45) / 0.25).contiguous(memory_format=torch.channels_last), {}
        for name in LAYERS:
            first = name.endswith("_1")  # of its level
            if first and features:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = F.relu(F.conv2d(x, self.kernel(name), self.biases[name], padding=1))
            if first:
                features[int(name[4])] = x.permute(0, 2, 3, 1)
        return features

    def weights(self) -> dict[str, torch.Tensor]:
        """The trained weights under the project's names: conv{level}_{i}.weight (OIHW) and .bias, float32."""
        kernels = {f"{name}.weight": self.kernel(name).detach().contiguous() for name in LAYERS}
        return kernels | {f"{name}.bias": self.biases[name].detach().clone() for name in LAYERS}


@torch.no_grad()
def load_student(path: Path) -> Student:
    """The student with the weights of a file such as this tool writes."""
    student, weights = Student(), load_file(path)
    for name in LAYERS:
        student.kernel(name).copy_(weights[f"{name}.weight"])
        student.biases[name].copy_(weights[f"{name}.bias"])
    return student


# -- errors -----------------------------------------------------------------------------------------------------------


def relative_error(value: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error of (N, C) over the teacher's variance among the N positions."""
    return (value - teacher).square().mean() / (teacher - teacher.mean(0)).square().mean()


def relational_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The error of the N x N cosines among the rows of (N, c), over the variance of those of (N, C)."""
    ours, theirs = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    cosines = theirs @ theirs.T
    return (ours @ ours.T - cosines).square().mean() / cosines.var()


def norm_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The relative error of |F| / mean |F| over the rows."""
    ours, theirs = student.norm(dim=1), teacher.norm(dim=1)
    return relative_error(ours / ours.mean(), theirs / theirs.mean())


def linear_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The relative error of the best affine map from (N, c) to (N, C): least squares, with a trace of ridge."""
    design = torch.cat([student / student.square().mean().sqrt(), torch.ones(len(student), 1)], 1).double()
    gram = design.T @ design
    ridge = 1e-6 * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype)
    return relative_error(design @ torch.linalg.solve(gram + ridge, design.T @ teacher.double()), teacher)


@torch.no_grad()
def evaluate(student: Student, pool: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """The three errors per level on held-back photos, in float32: `relational` is a mean over batches."""
    pairs = {level: [] for level in LEVELS}
    for start in range(0, len(pool["images"]), EVALUATION[1]):
        images, index, target = batch_of(pool, np.arange(len(pool["images"]))[start : start + EVALUATION[1]])
        for level, features in student(images).items():
            pairs[level].append((features.flatten(0, 2)[index[level]], target[level]))
    joined = [[torch.cat(part) for part in zip(*pairs[level], strict=True)] for level in LEVELS]
    return {
        "linear": [linear_error(*pair).item() for pair in joined],
        "relational": [float(np.mean([relational_error(*pair).item() for pair in pairs[level]])) for level in LEVELS],
        "norm": [norm_error(*pair).item() for pair in joined],
    }


def describe(errors: dict[str, list[float]]) -> str:
    """One line per kind of error, a column per level."""
    header = "held-back errors  " + "  ".join(OUTPUTS)
    return "\n".join([header, *(f"{k:16}  " + "  ".join(f"{e:7.4f}" for e in v) for k, v in errors.items())])


# -- training ---------------------------------------------------------------------------------------------------------


class Distiller(nn.Module):
    """The student and, for training only, the maps from its features to the teacher's."""

    def __init__(self, teacher_widths: dict[int, int]) -> None:
        super().__init__()
        self.student = Student()
        self.maps = nn.ModuleDict({str(level): nn.Linear(WIDTHS[level], w) for level, w in teacher_widths.items()})

    def forward(self, images, index, target) -> torch.Tensor:
        """The loss of one batch as `batch_of` returns it: per level, the weighted roots of the three errors.

        Roots keep small errors in the sum: after 250 steps relu1_1 .. relu4_1 were better than with squares, relu5_1 equal.
        """
        with torch.autocast("cpu", torch.bfloat16):
            features = self.student(images)
        loss = torch.zeros(())
        for level in LEVELS:
            ours, theirs = features[level].flatten(0, 2)[index[level]].float(), target[level]
            errors = {
                "linear": relative_error(self.maps[str(level)](ours / ours.square().mean().sqrt()), theirs),
                "relational": relational_error(ours, theirs),
                "norm": norm_error(ours, theirs),
            }
            loss = loss + LEVEL_WEIGHT[level] * sum(TERMS[kind] * error.sqrt() for kind, error in errors.items())
        return loss


@torch.no_grad()
def rescaled_weights(student: Student, pool: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The weights, each layer scaled so that the rms of a level's features is the teacher's on some crops of `pool`.

    No term of the loss sees a level's scale, and it drifts far (1e14 at relu5_1 after 9000 steps). ReLU and pooling
    commute with a positive factor, so only the scale of the features changes, and none of the errors.
    """
    images, _, target = batch_of(pool, np.arange(min(16, len(pool["images"]))))
    x, before, weights = (images - 0.45) / 0.25, 1.0, student.weights()
    for name in LAYERS:
        if name.endswith("_1") and name != LAYERS[0]:
            x = F.max_pool2d(x, 2, ceil_mode=True)
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = F.relu(F.conv2d(x, kernel / before, bias, padding=1))
        scale = (target[int(name[4])].square().mean() / x.square().mean()).sqrt()
        weights[f"{name}.weight"], weights[f"{name}.bias"] = kernel * (scale / before), bias * scale
        x, before = x * scale, scale
    return weights


def make_optimisers(model: Distiller) -> dict[str, torch.optim.Optimizer]:
    """Muon for the kernels; AdamW for the biases, the maps and the first kernel, whose input is three colours."""
    kernels = [model.student.kernels[name] for name in LAYERS[1:]]
    rest = [parameter for parameter in model.parameters() if all(parameter is not kernel for kernel in kernels)]
    return {
        "muon": torch.optim.Muon(kernels, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
        "adamw": torch.optim.AdamW(rest, weight_decay=0.0),
    }


def rate_at(step: int, steps: int) -> float:
    """The share of the peak rate: a linear start, then a cosine to zero at `steps`."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def replace_file(path: Path, save) -> None:
    """`save(temporary)`, then rename: a reader never sees half a file."""
    scratch = path.with_suffix(path.suffix + ".tmp")
    save(scratch)
    scratch.replace(path)


def train(args: argparse.Namespace) -> None:
    """Train up to `args.steps`, from the run folder's checkpoint if it has one."""
    train_photos, held_back_photos = list_photos(args.photos)
    teacher, run = load_teacher(args.teacher), args.output
    settings = {"seed": args.seed, "crops": args.crops, "photos": len(train_photos), "teacher": args.teacher.name}
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists() and not args.resume:
        sys.exit(f"distill: {checkpoint} is already there: add --resume to go on from it, or choose another folder")

    pools = {}
    for side, (batch, _) in SIDES.items():
        count = max(batch, args.crops * batch // max(crops for crops, _ in SIDES.values()))
        folder = run / "pool" / f"{side}px-{count}-seed{args.seed}"
        pools[side] = read_pool(make_pool(folder, teacher, train_photos, side, count, args.seed, augmented_crop))
    held_back = read_held_back(run / "pool" / "held-back", teacher, held_back_photos)

    torch.manual_seed(args.seed)
    model = Distiller({level: pools[side][f"teacher{level}"].shape[-1] for level in LEVELS})
    optimisers, first = make_optimisers(model), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        if state["settings"] != settings:
            sys.exit(f"distill: {checkpoint} was made with {state['settings']}, not {settings}")
        model.load_state_dict(state["model"])
        for name, optimiser in optimisers.items():
            optimiser.load_state_dict(state[name])
        first = state["step"]
        print(f"resumed at step {first} of {args.steps}", flush=True)

    def save(step: int) -> None:
        state = {"settings": settings, "step": step, "model": model.state_dict()}
        state |= {name: optimiser.state_dict() for name, optimiser in optimisers.items()}
        replace_file(checkpoint, lambda path: torch.save(state, path))
        replace_file(run / WEIGHTS_FILE, lambda path: save_file(rescaled_weights(model.student, held_back), path))
        print(describe(evaluate(load_student(run / WEIGHTS_FILE), held_back)), flush=True)

    started, losses = time.monotonic(), []
    for step in range(first, args.steps):
        rng = np.random.default_rng([args.seed, step])  # nothing else is random: a resumed run repeats the same steps
        side = list(SIDES)[rng.integers(len(SIDES))]
        chosen = rng.choice(len(pools[side]["images"]), SIDES[side][0], replace=False)
        loss = model(*batch_of(pools[side], chosen))
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for name, optimiser in optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = PEAK_RATE[name] * rate_at(step, args.steps)
            optimiser.step()
        losses.append(loss.item())
        done = step + 1
        if done % 100 == 0:
            pace = (time.monotonic() - started) / (done - first)
            mean, left = np.mean(losses[-100:]), pace * (args.steps - done) / 60
            print(f"step {done}: loss {mean:.3f}, {pace:.3f} s a step, {left:.0f} min left", flush=True)
        if done % args.checkpoint_every == 0 and done < args.steps:
            save(done)
    save(max(first, args.steps))
    write_model(run, args)


def write_model(run: Path, args: argparse.Namespace) -> None:
    """The weights of a finished run as a model folder in it, with its card."""
    weights = {name: array.numpy() for name, array in load_file(run / WEIGHTS_FILE).items()}
    network = Network(weights, mean=(0.45,) * 3, std=(0.25,) * 3)
    teacher = f"{args.teacher.name} (sha256 {hashlib.sha256(args.teacher.read_bytes()).hexdigest()[:16]})"
    card = Card(
        "vgg19-compact",
        "VGG-19's layers at a quarter of the width, trained to order patches as VGG-19 does",
        network.widths,
        f"tools/distill.py, {args.steps} steps, seed {args.seed}, teacher {teacher}",
        "MIT",
    )
    folder = run / "vgg19-compact"
    if folder.exists():
        shutil.rmtree(folder)  # of an earlier, shorter schedule
    export(network, folder, card)
    print(f"{folder} is the model")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path, help="ONNX model: RGB 0..1 NCHW -> relu1_1 .. relu5_1")
    parser.add_argument("photos", type=Path, help="folder of .jpg and .png pictures")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-o", "--output", type=Path, help="run folder: the pool (2.4 GB), checkpoints, weights")
    what.add_argument("--evaluate", type=Path, metavar="FILE", help="print the errors of these weights instead")
    parser.add_argument("--steps", type=int, default=9000, help="length of the schedule (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crops", type=int, default=6000, help="crops of the smallest side (default %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if not args.evaluate:
        train(args)
        return
    if not args.evaluate.is_file():
        sys.exit(f"distill: no weights at {args.evaluate}")
    student = load_student(args.evaluate)
    with tempfile.TemporaryDirectory() as folder:
        pool = read_held_back(Path(folder) / "held-back", load_teacher(args.teacher), list_photos(args.photos)[1])
        print(describe(evaluate(student, pool)))


if __name__ == "__main__":
    main()
