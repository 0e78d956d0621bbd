"""Train `vgg16-compact`, a slim VGG-16, to order patches as a teacher network does.

    python tools/distill.py TEACHER PHOTOS_FOLDER --preprocessing NAME -o RUN_FOLDER [--device cuda]
    [--steps N] [--resume] python tools/distill.py TEACHER PHOTOS_FOLDER --preprocessing NAME -o
    RUN_FOLDER --evaluate WEIGHTS [WEIGHTS ...]

Development only (extra `distill`: torch, onnxruntime, safetensors, pillow, numpy).  TEACHER is a file with the weights of
VGG-19 or VGG-16, of any kind that the project converts; `--preprocessing` names the input that they take, since most files do
not tell.

1. Crops of photos in many looks (`distill_crops.py`, `distill_looks.py`), and random positions in them.  On a GPU worker
   processes make new ones for each step, and the teacher runs for each batch.  On a processor the teacher would take most of
   the time, so a pool of crops is stored with its features, and the student meets each crop several times
   (`distill_batches.py`; `--crops 0` does without it there too).
2. Targets.  The teacher's features, and the same divided by their norm and projected on their first principal directions:
   as many as the student has channels.  The cosine that is learned is the mean of the two.
3. Training.  At every level, on positions sampled from all the crops of a group (N positions, c channels):
   `linear`      a learned map of the student's features, F / rms(F) W + b, regresses the target;
   `relational`  the N x N cosines among the student's positions equal the target's ("Relational Knowledge
                 Distillation", Park et al., CVPR 2019): what matching needs, which sees only cosines;
   `ranking`     each position's softmax over the others, by cosine, is the target's: a match is the first of a ranking;
   `norm`        |F| relative to its mean is the teacher's: the method blends levels by the norm map.
   Each is an error over that of knowing nothing, so 1 means "knows nothing" (`distill_errors.py`).
4. The optimiser is Muon for the kernels and AdamW for the rest; the rate falls to zero by a cosine over the steps.
5. The model folder gets a projection for the search, found on the training photos (`analogy.method.projection`).

The crops of a step depend only on (seed, step), so a killed run resumes with the same ones.  On a processor it also ends with
the same weights (same machine, same number of threads).  On a GPU it does not quite: gradients are summed in no fixed order.
`--steps` may change at `--resume`: the rate follows step / steps.
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
"""The student's layers and their channels.

The deep maps are small, and hardest to teach; the layers between two levels need fewer channels,
but more than the level before them."""
LAYERS = list(LAYER_WIDTHS)
WIDTHS = {level: LAYER_WIDTHS[f"conv{level}_1"] for level in LEVELS}
"""Channels of the student's relu1_1 .. relu5_1."""
SEARCH_DIMENSIONS = {1: 8, 2: 16, 3: 48, 4: 128, 5: 128}
"""Principal directions of the student that the search sees at each level."""
LEVEL_WEIGHT = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.5, 5: 2.0}
"""Weight of each level in the loss; the deep ones are the hardest, and start the search."""
TERMS = {"linear": 1.0, "relational": 4.0, "ranking": 2.0, "norm": 0.5}
"""Weight of each error in the loss."""
GROUPS = {"cpu": 1, "cuda": 16}
"""Groups of crops in a step (see `distill_crops.SIDES`), for each kind of device."""
DIRECTION_CROPS = 128
"""Plain crops of each side whose features give the principal directions."""
PEAK_RATE = {"muon": 8e-3, "adamw": 5e-3}
"""Highest rate of each optimiser."""
WARM_UP = 100
"""Steps in which the rate rises from zero."""
WEIGHTS_FILE = "vgg16-compact.safetensors"
"""Name of the trained weights in the run folder."""
TRAINING = ("seed", "crops", "groups", "init", "train_from", "rate")
"""Options that must be the same when a run resumes."""


class Distiller(nn.Module):
    """The student and, for training only, the maps from its features to the target.

    Layers before `train_from` stay as they are, and so do the levels that are among them.
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
        """Return the loss of one batch: for each level that is trained, the weighted roots of the errors.

        `images`, `index`: as in `distill_batches.Batch`; `target`: (B, P, D) for each level. Roots
        keep small errors in the sum: after 250 steps relu1_1 .. relu4_1 were better than with
        squares, relu5_1 equal.
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
            roots = {kind: error.clamp_min(1e-12).sqrt() for kind, error in errors.items()}  # finite gradients at 0
            loss = loss + LEVEL_WEIGHT[level] * sum(TERMS[kind] * root for kind, root in roots.items())
        return loss


def make_optimisers(model: Distiller) -> dict[str, torch.optim.Optimizer]:
    """Make Muon for the kernels; AdamW for the biases, the maps and the first kernel, whose input is three colours."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    kernels = [model.student.kernels[name] for name in LAYERS[1:] if name not in model.student.frozen]
    rest = [parameter for parameter in trained if all(parameter is not kernel for kernel in kernels)]
    return {
        "muon": Muon(kernels, weight_decay=0.01),
        "adamw": torch.optim.AdamW(rest, weight_decay=0.0),
    }


def rate_at(step: int, steps: int) -> float:
    """Return the share of the peak rate: a linear start, then a cosine to zero at `steps`."""
    return min(1.0, (step + 1) / WARM_UP) * 0.5 * (1 + math.cos(math.pi * step / steps))


def replace_file(path: Path, save) -> None:
    """Call `save(temporary)`, then rename, so that a reader never sees half a file."""
    scratch = path.with_suffix(path.suffix + ".tmp")
    save(scratch)
    scratch.replace(path)


# -- what a run needs -------------------------------------------------------------------------------------------------


def check_settings(run: Path, settings: dict) -> None:
    """Record what decides the pools of a run folder; exit if it has others, made with another teacher or other photos."""
    record = run / "settings.json"
    if record.exists() and (made := json.loads(record.read_text())) != settings:
        sys.exit(f"distill: {run} was made with {made}, not {settings}")
    run.mkdir(parents=True, exist_ok=True)
    replace_file(record, lambda path: path.write_text(json.dumps(settings)))


def prepare(args: argparse.Namespace) -> tuple[Vgg, list[Path], dict[str, np.ndarray], Targets]:
    """Return the teacher, the training photos, the held-back pool and the targets.

    The pools that it needs are made in the run folder where they are not there yet.
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


# -- training ---------------------------------------------------------------------------------------------------------


def train(args: argparse.Namespace) -> None:
    """Train up to `args.steps`, from the run folder's checkpoint if it has one."""
    run, device = args.output, torch.device(args.device)
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists() and not args.resume:
        sys.exit(f"distill: {checkpoint} is already there: add --resume to go on from it, or choose another folder")
    options = {name: getattr(args, name) for name in TRAINING}
    state = torch.load(checkpoint, weights_only=True, map_location="cpu") if checkpoint.exists() else None
    if state and state["options"] != options:
        sys.exit(f"distill: {checkpoint} was made with {state['options']}, not {options}")
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

    wanted = copy.deepcopy(targets).to(device)  # evaluation stays on the processor
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
    """Return the table of the errors of several files of weights on the held-back crops."""
    return describe({str(file): evaluate(load(file), held_back, targets) for file in files})


def write_model(run: Path, photos: list[Path], args: argparse.Namespace) -> None:
    """Write the weights of a finished run as a model folder in it, with its card and a projection for the search."""
    weights = {name: array.numpy() for name, array in load_file(run / WEIGHTS_FILE).items()}
    network = Network(weights, **PREPROCESSING["compact"])
    begun = f", begun from {Path(args.init).name}" if args.init else ""
    card = Card(
        "vgg16-compact",
        "VGG-16's layers, slim in the shallow levels, trained to order patches as the original VGG does",
        network.widths,
        f"tools/distill.py, {args.steps} steps, seed {args.seed}, teacher {Path(args.teacher).name}{begun}",
        "MIT; taught by weights of K. Simonyan and A. Zisserman (CC BY 4.0)",
    )
    folder = run / "vgg16-compact"
    if folder.exists():
        shutil.rmtree(folder)  # of an earlier, shorter schedule
    export(network, folder, card)
    add_projection(Features(folder, CpuBackend(torch.get_num_threads())), photos, dimensions=SEARCH_DIMENSIONS)
    print(f"{folder} is the model")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", help="file with the weights of VGG-19 or VGG-16")
    parser.add_argument("photos", type=Path, help="folder of .jpg and .png pictures")
    parser.add_argument(
        "--preprocessing", choices=PREPROCESSING, required=True, help="the input that the teacher's weights take"
    )
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder: pools, checkpoints, weights")
    parser.add_argument(
        "--evaluate", type=Path, nargs="+", metavar="WEIGHTS", help="compare the errors of these weights instead"
    )
    parser.add_argument("--init", metavar="WEIGHTS", help="begin from these weights; layers may be narrower in them")
    parser.add_argument(
        "--train-from", choices=LAYERS, default=LAYERS[0], metavar="LAYER", help="keep the layers before this one"
    )
    parser.add_argument("--steps", type=int, default=9000, help="length of the schedule (default %(default)s)")
    parser.add_argument(
        "--rate",
        type=float,
        default=1.0,
        help="share of the peak rate that the schedule begins with (default %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", choices=GROUPS, default="cpu")
    parser.add_argument(
        "--crops",
        type=int,
        help="crops in the pool of the smallest side, 0: new crops for each step (default 2000; 0 on a GPU)",
    )
    parser.add_argument(
        "--workers", type=int, help="processes that make crops (default 0; all but two cores for a GPU)"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    on_gpu = args.device == "cuda"
    if on_gpu:
        if not torch.cuda.is_available():
            sys.exit("distill: PyTorch finds no GPU for --device cuda; leave it out to train on the processor")
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
