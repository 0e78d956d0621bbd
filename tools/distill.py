"""Train `vgg16-compact`, a VGG-16 with few channels, to rank patches as a teacher network does.

    python tools/distill.py TEACHER PHOTOS_FOLDER --preprocessing NAME -o RUN_FOLDER [--device cuda]
        [--steps N] [--resume]
    python tools/distill.py TEACHER PHOTOS_FOLDER --preprocessing NAME -o RUN_FOLDER
        --evaluate WEIGHTS [WEIGHTS ...]

This is a tool for developers (extra `distill`: torch, onnxruntime, safetensors, pillow, numpy).
TEACHER is a file with the weights of VGG-19 or VGG-16, of any kind that the project converts.
`--preprocessing` names the preprocessing of pictures that these weights need, since most files do
not name it.

1. Crops of photos are made in many looks (`distill_crops.py`, `distill_looks.py`), with random
   positions in them. On a GPU, worker processes make new crops for each step, and the teacher runs
   for each batch. On a CPU the teacher would take most of the time. A pool of crops is therefore
   stored with the teacher's features, and the student gets each crop several times
   (`distill_batches.py`; with `--crops 0`, new crops are made on a CPU, too).
2. A target has two parts of equal weight: the teacher's features, and their projection. For the
   projection, the features are divided by their norm and projected on their first principal
   directions, as many as the student has channels. The cosine of two targets, which the student
   learns, is the mean of the cosines of the two parts.
3. At every level, training compares the features F of the student with the target, at all N
   positions of a group of crops. Each of four errors is 0 if its sentence is true:
   `linear`      F / rms(F) W + b equals the target. W and b are learned together with the student.
   `relational`  The N x N cosines among the student's positions equal those of the target
                 ("Relational Knowledge Distillation", Park et al., CVPR 2019). The search compares
                 only cosines.
   `ranking`     The softmax of each position's cosines with the others equals that of the target,
                 since the match of a position is the first in its ranking.
   `norm`        |F| divided by its mean equals the same quotient of the teacher, since the method
                 blends features by their norm.
   Each error is divided by the error of a student that has learned nothing (`distill_errors.py`).
4. The optimiser is Muon for all kernels but the first, and AdamW for all other parameters. The
   learning rate rises in the first steps, and then falls to zero along a cosine.
5. The model folder gets a projection for the search, which is computed from the training photos
   (`analogy.method.projection`).

The crops of a step depend only on (seed, step), so that a killed run resumes with the same crops.
On a CPU this run also ends with the same weights (on the same machine with the same number of
threads). On a GPU the weights differ slightly, since the order in which gradients are summed
varies. `--steps` may be changed at `--resume`. The learning rate depends on step / steps, and
continues with the new number of steps.
"""

import argparse
import copy
import json
import math
import os
import shutil
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np

try:
    import torch
    from safetensors.torch import load_file, save_file
    from torch import nn
except ImportError as error:
    sys.exit(f'distill: {error}; this tool needs the extra "distill": pip install -e ".[cpu,distill]"')

from analogy.backends.cpu import CpuBackend
from analogy.method.features import Features
from analogy.method.projection import add_projection
from analogy.networks.cards import Card
from analogy.networks.description import Network
from analogy.networks.export import export
from analogy.networks.weights import PREPROCESSING

from distill_batches import NewCrops, StoredCrops, batches, make_pool, take, training_pools
from distill_crops import HELD_BACK_SIDE, LEVELS, SIDES, held_back_crop, list_photos, plain_crop
from distill_errors import (
    Targets,
    describe,
    evaluate,
    norm_error,
    ranking_error,
    relational_error,
    relative_error,
)  # fmt: skip
from distill_networks import Vgg, as_input, begin_from, features_at, load, mixed_precision, rescaled_weights, untrained
from muon import Muon

LAYER_WIDTHS = {
    "conv1_1": 16, "conv1_2": 16,
    "conv2_1": 32, "conv2_2": 32,
    "conv3_1": 64, "conv3_2": 96, "conv3_3": 96,
    "conv4_1": 256, "conv4_2": 192, "conv4_3": 192,
    "conv5_1": 256,
}  # fmt: skip
"""Layer of the student -> its number of channels.

Deep layers have many channels, because their features are hardest to learn, and because their maps
are small, so that channels cost little. The layers between two levels need fewer channels than the
deeper level.
"""
LAYERS = list(LAYER_WIDTHS)
WIDTHS = {level: LAYER_WIDTHS[f"conv{level}_1"] for level in LEVELS}
"""Level -> number of channels of the student's relu(level)_1."""
SEARCH_DIMENSIONS = {1: 8, 2: 16, 3: 48, 4: 128, 5: 128}
"""Level -> number of principal directions of the student's features that the search compares."""
LEVEL_WEIGHT = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.5, 5: 2.0}
"""Level -> its weight in the loss.

The deep levels are hardest to learn, and the search starts there.
"""
TERMS = {"linear": 1.0, "relational": 4.0, "ranking": 2.0, "norm": 0.5}
"""Name of an error -> its weight in the loss."""
GROUPS = {"cpu": 1, "cuda": 16}
"""Kind of device -> number of groups of crops in a step (see `distill_crops.SIDES`)."""
DIRECTION_CROPS = 128
"""Number of crops of each size, in no special look, for the teacher's principal directions."""
PEAK_RATE = {"muon": 8e-3, "adamw": 5e-3}
"""Optimiser -> its highest learning rate, if `--rate` is 1."""
WARM_UP = 100
"""Number of steps in which the learning rate rises from zero."""
WEIGHTS_FILE = "vgg16-compact.safetensors"
"""Name of the file with the trained weights in the run folder."""
TRAINING = ("seed", "crops", "groups", "init", "train_from", "rate")
"""Options that must be the same when a run resumes."""


class Distiller(nn.Module):
    """The student, with a linear map from its features to the target for each trained level.

    Only training needs these maps. The layers before `train_from` are not trained. A level L has no
    part in the loss if the layer convL_1 is not trained.
    """

    def __init__(self, student: Vgg, target_widths: dict[int, int], groups: int, train_from: str = LAYERS[0]) -> None:
        super().__init__()
        self.student, self.groups = student, groups
        student.frozen = frozenset(LAYERS[: LAYERS.index(train_from)])
        for name in student.frozen:
            student.kernels[name].requires_grad_(False)
            student.biases[name].requires_grad_(False)
        levels = [level for level in LEVELS if f"conv{level}_1" not in student.frozen]
        self.maps = nn.ModuleDict({str(level): nn.Linear(WIDTHS[level], target_widths[level]) for level in levels})

    def forward(self, images, index, target) -> torch.Tensor:
        """Return the loss of a batch: the weighted sum of the errors' square roots at all levels.

        `images` and `index` are those of `distill_batches.Batch`; `target` is (B, P, D) for each
        level. Levels that are not trained are left out. The roots give small errors more weight in
        the sum: after 250 steps, the errors of relu1_1 .. relu4_1 were smaller than with a sum of
        the errors without roots, and the error of relu5_1 was equal.
        """
        with mixed_precision(images.device):
            features = self.student(as_input(images))
        loss = torch.zeros((), device=images.device)
        for level in map(int, self.maps):
            ours, theirs = features_at(features[level], index[level]).float(), target[level]
            mapped = self.maps[str(level)](ours / ours.square().mean().sqrt())
            by_group = [rows.reshape(self.groups, -1, rows.shape[2]) for rows in (ours, theirs)]
            errors = {
                "linear": relative_error(mapped.flatten(0, 1), theirs.flatten(0, 1)),
                "relational": relational_error(*by_group),
                "ranking": ranking_error(*by_group),
                "norm": norm_error(ours.flatten(0, 1), theirs.flatten(0, 1)),
            }
            # The clamp keeps the gradient finite where an error is 0.
            roots = {kind: error.clamp_min(1e-12).sqrt() for kind, error in errors.items()}
            loss = loss + LEVEL_WEIGHT[level] * sum(TERMS[kind] * root for kind, root in roots.items())
        return loss


def make_optimisers(model: Distiller) -> dict[str, torch.optim.Optimizer]:
    """Make Muon for all kernels but the first, and AdamW for all other parameters.

    Muon does not suit the first kernel, whose input has only three channels.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kernels = [model.student.kernels[name] for name in LAYERS[1:] if name not in model.student.frozen]
    rest = [parameter for parameter in trained if all(parameter is not kernel for kernel in kernels)]
    return {
        "muon": Muon(kernels, weight_decay=0.01),
        "adamw": torch.optim.AdamW(rest, weight_decay=0.0),
    }


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate as a share (0 to 1) of its peak: a linear rise times a cosine."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def replace_file(path: Path, save) -> None:
    """Call `save(temporary)`, then rename the file, so that no process reads an incomplete file."""
    scratch = path.with_suffix(path.suffix + ".tmp")
    save(scratch)
    scratch.replace(path)


# -- inputs of a run -------------------------------------------------------------------------------


def check_settings(run: Path, settings: dict) -> None:
    """Record the settings with which a run folder is made, or exit if it was made with others."""
    record = run / "settings.json"
    if record.exists() and (made := json.loads(record.read_text())) != settings:
        sys.exit(f"distill: {run} was made with {made}, not {settings}; use the same settings, or another folder")
    run.mkdir(parents=True, exist_ok=True)
    replace_file(record, lambda path: path.write_text(json.dumps(settings)))


def prepare(args: argparse.Namespace) -> tuple[Vgg, list[Path], dict[str, np.ndarray], Targets]:
    """Return the teacher, the training photos, the pool of crops for evaluation, and the targets.

    The crops for evaluation and those for the targets are in pools in the run folder. The function
    makes a pool that is missing.
    """
    photos, held_back_photos = list_photos(args.photos)
    teacher = load(Path(args.teacher), args.preprocessing)
    names = {"teacher": args.teacher, "preprocessing": args.preprocessing}
    check_settings(args.output, names | {"photos": len(photos) + len(held_back_photos)})
    teacher.to(args.device)
    folder, side = args.output / "pool", HELD_BACK_SIDE
    crop_of, count = partial(held_back_crop, held_back_photos, side, 0), 2 * len(held_back_photos)
    held_back = make_pool(folder / "held-back", crop_of, count, SIDES[side][1], teacher, args.workers)
    plain = []
    for side, (_, positions) in SIDES.items():
        crop_of = partial(plain_crop, photos, side, 0)
        plain.append(make_pool(folder / f"plain-{side}px", crop_of, DIRECTION_CROPS, positions, teacher, args.workers))
    return teacher, photos, held_back, Targets(plain, WIDTHS)


# -- training --------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Train up to step `args.steps`, from a checkpoint if there is one, and write the model."""
    run, device = args.output, torch.device(args.device)
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists() and not args.resume:
        sys.exit(f"distill: {checkpoint} exists: add --resume to continue from it, or choose another folder")
    options = {name: getattr(args, name) for name in TRAINING}
    state = torch.load(checkpoint, weights_only=True, map_location="cpu") if checkpoint.exists() else None
    if state and state["options"] != options:
        sys.exit(
            f"distill: {checkpoint} was made with {state['options']}, not {options}; use the same options, or another "
            "folder"
        )
    teacher, photos, held_back, targets = prepare(args)
    if args.crops:
        pools = training_pools(run / "pool", photos, args.seed, args.crops, args.groups, teacher, args.workers)
        crops, workers = StoredCrops(pools, args.seed, args.groups), 0
    else:
        crops, workers = NewCrops(photos, args.seed, args.groups, SIDES), args.workers
    some = take(held_back, slice(16))
    spread = {level: features.square().mean().sqrt() for level, features in some.features.items()}
    target_widths = {level: target.shape[-1] for level, target in targets(some.features).items()}

    torch.manual_seed(args.seed)
    student = untrained(LAYER_WIDTHS)
    if args.init:
        begin_from(student, load(Path(args.init)))
    model = Distiller(student, target_widths, args.groups, args.train_from).to(device)
    optimisers, first = make_optimisers(model), 0
    if state:
        model.load_state_dict(state["model"])
        for name, optimiser in optimisers.items():
            optimiser.load_state_dict(state[name])
        first = state["step"]
        print(f"resumed at step {first} of {args.steps}", flush=True)

    def save(step: int) -> None:
        state = {"step": step, "options": options, "model": model.state_dict()}
        state |= {name: optimiser.state_dict() for name, optimiser in optimisers.items()}
        replace_file(checkpoint, lambda path: torch.save(state, path))
        weights = rescaled_weights(student, some.images, spread)
        replace_file(run / WEIGHTS_FILE, lambda path: save_file(weights, path))
        print(compare([run / WEIGHTS_FILE], held_back, targets), flush=True)

    wanted = copy.deepcopy(targets).to(device)  # a copy, since the evaluation uses `targets` on the CPU
    started, losses = time.monotonic(), []
    steps = range(first, args.steps)
    for step, batch in zip(steps, batches(crops, steps, teacher, workers), strict=True):
        loss = model(batch.images, batch.index, wanted(batch.features))
        model.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for name, optimiser in optimisers.items():
            for group in optimiser.param_groups:
                group["lr"] = args.rate * PEAK_RATE[name] * rate_at(step, args.steps)
            optimiser.step()
        losses.append(loss.detach())
        done = step + 1
        if done % 100 == 0:
            pace = (time.monotonic() - started) / (done - first)
            mean, left = torch.stack(losses[-100:]).mean().item(), pace * (args.steps - done) / 60
            print(f"step {done}: loss {mean:.3f}, {pace:.3f} s a step, {left:.0f} min left", flush=True)
        if done % args.checkpoint_every == 0 and done < args.steps:
            save(done)
    save(max(first, args.steps))
    write_model(run, photos, args)


def compare(files: list[Path], held_back: dict[str, np.ndarray], targets: Targets) -> str:
    """Return a table with the errors of several files of weights on the crops for evaluation."""
    return describe({str(file): evaluate(load(file), held_back, targets) for file in files})


def write_model(run: Path, photos: list[Path], args: argparse.Namespace) -> None:
    """Write the model folder of a finished run, with its card and a projection for the search."""
    weights = {name: array.numpy() for name, array in load_file(run / WEIGHTS_FILE).items()}
    network = Network(weights, **PREPROCESSING["compact"])
    begun = f", begun from {Path(args.init).name}" if args.init else ""
    card = Card(
        "vgg16-compact",
        "VGG-16's layers with few channels at fine levels, trained to rank patches as the original VGG-16 does",
        network.widths,
        f"tools/distill.py, {args.steps} steps, seed {args.seed}, teacher {Path(args.teacher).name}{begun}",
        "MIT; the teacher network has the weights of K. Simonyan and A. Zisserman (CC BY 4.0)",
    )
    folder = run / "vgg16-compact"
    if folder.exists():
        shutil.rmtree(folder)  # an earlier run with fewer steps made it
    export(network, folder, card)
    add_projection(Features(folder, CpuBackend(torch.get_num_threads())), photos, dimensions=SEARCH_DIMENSIONS)
    print(f"the model folder is {folder}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", help="file with the weights of VGG-19 or VGG-16")
    parser.add_argument("photos", type=Path, help="folder of .jpg and .png pictures")
    parser.add_argument(
        "--preprocessing",
        choices=PREPROCESSING,
        required=True,
        help="preprocessing of pictures that the teacher's weights need",
    )
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help="run folder for pools, checkpoints and weights"
    )
    parser.add_argument(
        "--evaluate",
        type=Path,
        nargs="+",
        metavar="WEIGHTS",
        help="do not train, but compare the errors of these weights",
    )
    parser.add_argument(
        "--init", metavar="WEIGHTS", help="start from these weights, whose layers may be narrower than the student's"
    )
    parser.add_argument(
        "--train-from",
        choices=LAYERS,
        default=LAYERS[0],
        metavar="LAYER",
        help="do not train the layers before this one",
    )
    parser.add_argument("--steps", type=int, default=9000, help="number of steps in all (default %(default)s)")
    parser.add_argument(
        "--rate",
        type=float,
        default=1.0,
        help="factor by which the highest learning rates are multiplied (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=GROUPS, default="cpu")
    parser.add_argument(
        "--crops",
        type=int,
        help="number of stored crops of the smallest side; 0 makes new crops for each step (default 2000; 0 on a GPU)",
    )
    parser.add_argument(
        "--workers",
        type=int,
        help="number of processes that make crops (default 0; with a GPU, the number of cores minus two)",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoint of the run folder")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    on_gpu = args.device == "cuda"
    if on_gpu:
        if not torch.cuda.is_available():
            sys.exit("distill: PyTorch finds no GPU for --device cuda; leave the option out to train on the CPU")
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.fp32_precision = "tf32"
    args.groups = GROUPS[args.device]
    args.crops = (0 if on_gpu else 2000) if args.crops is None else args.crops
    args.workers = (max(1, (os.cpu_count() or 1) - 2) if on_gpu else 0) if args.workers is None else args.workers
    if not args.evaluate:
        train(args)
        return
    _, _, held_back, targets = prepare(args)
    print(compare(args.evaluate, held_back, targets))


if __name__ == "__main__":
    main()
