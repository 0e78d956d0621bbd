"""Train `vgg19-compact`, a slim VGG-16, to order patches as a teacher network does.

    python tools/distill.py TEACHER PHOTOS_FOLDER -o RUN_FOLDER [--also TEACHER ...] [--steps N] [--seed S] [--resume]
    python tools/distill.py TEACHER PHOTOS_FOLDER -o RUN_FOLDER --evaluate WEIGHTS.safetensors

Development only (extra `distill`: torch, onnxruntime, safetensors, pillow, numpy).  A TEACHER is a model folder of this
project, a graph that takes RGB in 0..1 as (1, 3, H, W) and returns `relu1_1` .. `relu5_1` with strides 1, 2, 4, 8, 16,
or any file of weights that the project converts: `vgg16.safetensors,preprocessing=caffe`.  Several teachers share the
cosines that are learned by `weight=W` behind the path (1 by default).

1. Pool.  Crops of photos in many looks (`distill_looks.py`) go once through the teachers; a random sample of their
   features is kept as float16.  The student meets each crop several times: else teachers would cost more than training.
2. Targets.  A teacher's features as they are (`raw`), or divided by their norm and projected on their first principal
   directions (`projected`): as many as the student has channels, found on the plain photos of the pool.  Fewer dimensions
   match better.  `both`, the default, joins the two at equal energy: the cosine that is learned is their mean.
3. Training.  At every level, on positions sampled from all the crops of a batch (N positions, c channels):
   `linear`      a learned map of the student's features, F / rms(F) W + b, regresses the target;
   `relational`  the N x N cosines among the student's positions equal the target's ("Relational Knowledge
                 Distillation", Park et al., CVPR 2019): what matching needs, which sees only cosines;
   `ranking`     each position's softmax over the others, by cosine, is the target's: a match is the first of a ranking;
   `norm`        |F| relative to its mean is the first teacher's: the method blends levels by the norm map.
   Each is an error over that of knowing nothing, so 1 means "knows nothing".
4. The optimiser is Muon for the kernels and AdamW for the rest; the rate falls to zero by a cosine.
5. The model folder gets a projection for the search, found on the training photos (`analogy.method.projection`).

A step depends only on (seed, step) and the step before, so a killed run resumes to the same weights (same machine, same
number of threads).  `--steps` may change at `--resume`: the rate follows step / steps.
"""

import argparse
import json
import math
import shutil
import sys
import time
from pathlib import Path

import numpy as np

try:
    import torch
    from safetensors.torch import load_file, save_file
    from torch import nn
    from torch.nn import functional as F
except ImportError as error:
    sys.exit(f'distill: {error}; this tool needs the extra "distill": pip install -e ".[cpu,distill]"')

from analogy.backends.cpu import CpuBackend
from analogy.method.features import Features
from analogy.method.projection import add_projection
from analogy.networks.cards import Card
from analogy.networks.export import Network, export

import winograd
from distill_pool import (
    EVALUATION,
    LEVELS,
    OUTPUTS,
    SIDES,
    Teacher,
    batch_of,
    choose,
    held_back_crop,
    list_photos,
    load_teacher,
    make_pool,
    read_pool,
    training_crop,
)  # fmt: skip
from muon import Muon

# The layers of VGG-16. The deep maps are small, and hardest to teach; the layers between two levels need fewer channels,
# but more than the level before them.
LAYER_WIDTHS = {
    "conv1_1": 16, "conv1_2": 16,
    "conv2_1": 32, "conv2_2": 32,
    "conv3_1": 64, "conv3_2": 96, "conv3_3": 96,
    "conv4_1": 256, "conv4_2": 192, "conv4_3": 192,
    "conv5_1": 256,
}  # fmt: skip
LAYERS = list(LAYER_WIDTHS)
WIDTHS = {level: LAYER_WIDTHS[f"conv{level}_1"] for level in LEVELS}
SEARCH_DIMENSIONS = {1: 8, 2: 16, 3: 48, 4: 128, 5: 128}  # principal directions of the student that the search sees
LEVEL_WEIGHT = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.5, 5: 2.0}  # the deep levels are the hardest, and start the search
TERMS = {"linear": 1.0, "relational": 4.0, "ranking": 2.0, "norm": 0.5}
POSITIONS = 20_000  # of each side of crops, for the principal directions
TEMPERATURE = 0.5  # of the rankings, in standard deviations of the target's cosines
PEAK_RATE = {"muon": 8e-3, "adamw": 5e-3}
WARM_UP = 100
WINOGRAD = 64 * 256 * 9  # numbers in a kernel from which on it pays
WEIGHTS_FILE = "vgg19-compact.safetensors"


class Student(nn.Module):
    """VGG-16 up to relu5_1 with `LAYER_WIDTHS` channels; kernels are kept as matrices (out, 9 * in), in the order HWI."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels, self.biases = nn.ParameterDict(), nn.ParameterDict()
        channels = 3
        for name in LAYERS:
            width = LAYER_WIDTHS[name]
            kernel = torch.randn(width, 9 * channels) * math.sqrt(2 / (9 * channels))  # He et al. 2015
            self.kernels[name], self.biases[name] = nn.Parameter(kernel), nn.Parameter(torch.zeros(width))
            channels = width

    def kernel(self, name: str) -> torch.Tensor:
        """The kernel as (out, in, 3, 3), channels last in memory."""
        matrix = self.kernels[name]
        return matrix.view(len(matrix), 3, 3, -1).permute(0, 3, 1, 2)

    def convolve(self, name: str, x: torch.Tensor) -> torch.Tensor:
        """By Winograd's algorithm in training where it is faster."""
        fits = x.shape[2] % 4 == 0 and x.shape[3] % 4 == 0 and self.kernels[name].numel() >= WINOGRAD
        if fits and self.training and not torch.is_autocast_enabled("cpu"):
            return winograd.convolve(x, self.kernel(name), self.biases[name])
        return F.conv2d(x, self.kernel(name), self.biases[name], padding=1)

    def forward(self, image: torch.Tensor) -> dict[int, torch.Tensor]:
        """(B, 3, H, W) RGB in 0..1 -> {level: (B, h, w, c)}, the features after relu{level}_1."""
        x, features = ((image - 0.45) / 0.25).contiguous(memory_format=torch.channels_last), {}
        for name in LAYERS:
            first = name.endswith("_1")  # of its level
            if first and features:
                x = F.max_pool2d(x, 2, ceil_mode=True)
            x = F.relu(self.convolve(name, x))
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
    student, weights = Student().eval(), load_file(path)
    for name in LAYERS:
        student.kernel(name).copy_(weights[f"{name}.weight"])
        student.biases[name].copy_(weights[f"{name}.bias"])
    return student


# -- targets ----------------------------------------------------------------------------------------------------------


class Targets(nn.Module):
    """What the student is to learn: the teachers' features, raw or projected or both, joined by their weights."""

    def __init__(self, kind: str, teachers: list[Teacher], pools: list[dict[str, np.ndarray]]) -> None:
        super().__init__()
        self.kind, self.weights = kind, [teacher.weight for teacher in teachers]
        self.directions = [{level: principal(pools, n, level) for level in LEVELS} for n in range(len(teachers))]

    def forward(self, rows: dict[int, list[torch.Tensor]]) -> dict[int, torch.Tensor]:
        """Each teacher's (N, C) per level -> (N, D): cosines are the weighted mean of all parts', norms the first one's."""
        return {level: self.join(level, features) for level, features in rows.items()}

    def join(self, level: int, features: list[torch.Tensor]) -> torch.Tensor:
        parts = []
        for weight, directions, own in zip(self.weights, self.directions, features, strict=True):
            raw = math.sqrt(weight) * F.normalize(own, dim=1)
            parts += [raw] if self.kind != "projected" else []
            parts += [math.sqrt(weight) * F.normalize(raw @ directions[level], dim=1)] if self.kind != "raw" else []
        return F.normalize(torch.cat(parts, 1), dim=1) * features[0].norm(dim=1, keepdim=True)


def principal(pools: list[dict[str, np.ndarray]], n: int, level: int) -> torch.Tensor:
    """(C, k): the first right singular vectors, not centred, of the n-th teacher's features over their norm."""
    gram = 0
    for pool in pools:
        rows = torch.from_numpy(pool[f"teacher{n}_{level}"][pool["plain"]]).flatten(0, 1)[:POSITIONS].double()
        rows = F.normalize(rows, dim=1)
        gram = gram + rows.T @ rows
    return torch.linalg.eigh(gram).eigenvectors.flip(1)[:, : WIDTHS[level]].float()


# -- errors -----------------------------------------------------------------------------------------------------------


def relative_error(value: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Mean squared error of (N, C) over the teacher's variance among the N positions."""
    return (value - teacher).square().mean() / (teacher - teacher.mean(0)).square().mean()


def relational_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """The error of the N x N cosines among the rows of (N, c), over the variance of those of (N, C)."""
    ours, theirs = F.normalize(student, dim=1), F.normalize(teacher, dim=1)
    cosines = theirs @ theirs.T
    return (ours @ ours.T - cosines).square().mean() / cosines.var()


def ranking_error(student: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """KL divergence from the teacher's softmax over each row's cosines with the others, over that of evenness."""
    ours, theirs = (rows @ rows.T for rows in (F.normalize(student, dim=1), F.normalize(teacher, dim=1)))
    heat = TEMPERATURE * theirs.std()
    itself = torch.eye(len(theirs), dtype=torch.bool)
    ours, theirs = ((cosines / heat).masked_fill(itself, -1e4).log_softmax(1) for cosines in (ours, theirs))
    share = theirs.exp()
    return (share * (theirs - ours)).sum() / (share * (theirs + math.log(len(theirs) - 1))).sum()


def misses(student, teacher, among: tuple[int, ...] = (1, 5)) -> list[float]:
    """How often the teacher's nearest neighbour is not among the student's first k, for each k of `among`.

    `student`, `teacher`: (M, c), of which each seeks among the others, or a pair of (M, c) that seek and (N, c) found.
    """
    within = isinstance(student, torch.Tensor)
    cosines = []
    for rows in (student, teacher):
        seek, found = (F.normalize(part, dim=1) for part in ((rows, rows) if within else rows))
        cosines.append((seek @ found.T).fill_diagonal_(-2) if within else seek @ found.T)
    ours, nearest = cosines[0], cosines[1].argmax(1, keepdim=True)
    rank = (ours > ours.gather(1, nearest)).sum(1)
    return [(rank >= k).float().mean().item() for k in among]


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
def evaluate(student: Student, pool: dict[str, np.ndarray], targets: Targets) -> dict[str, list[float]]:
    """The errors per level on held-back photos and the same in strong looks.

    `relational` is a mean over batches. `within`: misses in one crop; `across`: the photos of a batch seek in those of
    the same batch that have strong looks.
    """
    errors = {kind: [] for kind in ("linear", "relational", "norm", "within 1", "within 5", "across 1", "across 5")}
    pairs = {level: [] for level in LEVELS}
    batch = EVALUATION[1]
    for start in range(0, len(pool["images"]), batch):
        images, index, rows = batch_of(pool, np.arange(len(pool["images"]))[start : start + batch])
        target = targets(rows)
        for level, features in student(images).items():
            pairs[level].append((features.flatten(0, 2)[index[level]], target[level]))
    for level in LEVELS:
        joined = [torch.cat(part) for part in zip(*pairs[level], strict=True)]
        errors["linear"].append(linear_error(*joined).item())
        errors["relational"].append(float(np.mean([relational_error(*pair).item() for pair in pairs[level]])))
        errors["norm"].append(norm_error(*joined).item())
        crops = [rows.view(len(pool["images"]), -1, rows.shape[1]) for rows in joined]  # photo, look, photo, look ..
        within = [misses(*crop) for crop in zip(*crops, strict=True)]
        looks = [zip(rows[::2].split(batch // 2), rows[1::2].split(batch // 2), strict=True) for rows in crops]
        across = [
            misses(*([part.flatten(0, 1) for part in pair] for pair in both)) for both in zip(*looks, strict=True)
        ]
        for name, found in (("within", within), ("across", across)):
            for k, mean in zip((1, 5), np.mean(found, 0), strict=True):
                errors[f"{name} {k}"].append(float(mean))
    return errors


def describe(errors: dict[str, list[float]]) -> str:
    """One line per kind of error, a column per level."""
    header = "held-back errors  " + "  ".join(OUTPUTS)
    return "\n".join([header, *(f"{k:16}  " + "  ".join(f"{e:7.4f}" for e in v) for k, v in errors.items())])


# -- training ---------------------------------------------------------------------------------------------------------


class Distiller(nn.Module):
    """The student and, for training only, the maps from its features to the target."""

    def __init__(self, target_widths: dict[int, int], bfloat16: bool = False) -> None:
        super().__init__()
        self.student, self.bfloat16 = Student(), bfloat16
        self.maps = nn.ModuleDict({str(level): nn.Linear(WIDTHS[level], w) for level, w in target_widths.items()})

    def forward(self, images, index, target) -> torch.Tensor:
        """The loss of one batch: per level, the weighted roots of the errors.

        Roots keep small errors in the sum: after 250 steps relu1_1 .. relu4_1 were better than with squares, relu5_1 equal.
        """
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            features = self.student(images)
        loss = torch.zeros(())
        for level in LEVELS:
            ours, theirs = features[level].flatten(0, 2)[index[level]].float(), target[level]
            errors = {
                "linear": relative_error(self.maps[str(level)](ours / ours.square().mean().sqrt()), theirs),
                "relational": relational_error(ours, theirs),
                "ranking": ranking_error(ours, theirs),
                "norm": norm_error(ours, theirs),
            }
            loss = loss + LEVEL_WEIGHT[level] * sum(TERMS[kind] * error.sqrt() for kind, error in errors.items())
        return loss


@torch.no_grad()
def rescaled_weights(student: Student, pool: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    """The weights, each layer scaled so that the rms of a level's features is the first teacher's on some crops of `pool`.

    No term of the loss sees a level's scale, and it drifts far (1e14 at relu5_1 after 9000 steps). ReLU and pooling
    commute with a positive factor, so only the scale of the features changes, and none of the errors.
    """
    images, _, rows = batch_of(pool, np.arange(min(16, len(pool["images"]))))
    x, before, weights = (images - 0.45) / 0.25, 1.0, student.weights()
    for name in LAYERS:
        if name.endswith("_1") and name != LAYERS[0]:
            x = F.max_pool2d(x, 2, ceil_mode=True)
        kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = F.relu(F.conv2d(x, kernel / before, bias, padding=1))
        scale = (rows[int(name[4])][0].square().mean() / x.square().mean()).sqrt()
        weights[f"{name}.weight"], weights[f"{name}.bias"] = kernel * (scale / before), bias * scale
        x, before = x * scale, scale
    return weights


def make_optimisers(model: Distiller) -> dict[str, torch.optim.Optimizer]:
    """Muon for the kernels; AdamW for the biases, the maps and the first kernel, whose input is three colours."""
    kernels = [model.student.kernels[name] for name in LAYERS[1:]]
    rest = [parameter for parameter in model.parameters() if all(parameter is not kernel for kernel in kernels)]
    return {
        "muon": Muon(kernels, weight_decay=0.01),
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


def prepare(args: argparse.Namespace) -> tuple[dict[int, dict[str, np.ndarray]], dict[str, np.ndarray], Targets]:
    """The pools by side of crop, the held-back pool, and the targets; made in the run folder where they are not yet."""
    teachers = [load_teacher(words) for words in (args.teacher, *args.also)]
    photos, held_back_photos = list_photos(args.photos)
    settings = {name: getattr(args, name) for name in ("seed", "crops", "teacher", "also", "targets")}
    settings["photos"] = len(photos)
    record = args.output / "settings.json"
    if record.exists() and (made := json.loads(record.read_text())) != settings:
        sys.exit(f"distill: {args.output} was made with {made}, not {settings}")
    args.output.mkdir(parents=True, exist_ok=True)
    replace_file(record, lambda path: path.write_text(json.dumps(settings)))
    folder, pools, side = args.output / "pool", {}, EVALUATION[0]
    count = 2 * len(held_back_photos)
    held_back = make_pool(folder / f"held-back-{side}px", teachers, held_back_photos, side, count, 0, held_back_crop)
    for side, (batch, _) in SIDES.items():
        count = max(batch, args.crops * batch // max(crops for crops, _ in SIDES.values()))
        place = folder / f"{side}px-{count}-seed{args.seed}"
        pools[side] = read_pool(make_pool(place, teachers, photos, side, count, args.seed, training_crop))
    return pools, read_pool(held_back), Targets(args.targets, teachers, list(pools.values()))


def train(args: argparse.Namespace) -> None:
    """Train up to `args.steps`, from the run folder's checkpoint if it has one."""
    run = args.output
    checkpoint = run / "checkpoint.pt"
    if checkpoint.exists() and not args.resume:
        sys.exit(f"distill: {checkpoint} is already there: add --resume to go on from it, or choose another folder")
    pools, held_back, targets = prepare(args)
    _, _, rows = batch_of(held_back, np.arange(1))
    target_widths = {level: target.shape[1] for level, target in targets(rows).items()}

    torch.manual_seed(args.seed)
    model = Distiller(target_widths, args.bfloat16)
    optimisers, first = make_optimisers(model), 0
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for name, optimiser in optimisers.items():
            optimiser.load_state_dict(state[name])
        first = state["step"]
        print(f"resumed at step {first} of {args.steps}", flush=True)

    def save(step: int) -> None:
        state = {"step": step, "model": model.state_dict()}
        state |= {name: optimiser.state_dict() for name, optimiser in optimisers.items()}
        replace_file(checkpoint, lambda path: torch.save(state, path))
        replace_file(run / WEIGHTS_FILE, lambda path: save_file(rescaled_weights(model.student, held_back), path))
        print(describe(evaluate(load_student(run / WEIGHTS_FILE), held_back, targets)), flush=True)

    started, losses = time.monotonic(), []
    for step in range(first, args.steps):
        rng = np.random.default_rng([args.seed, step])  # nothing else is random: a resumed run repeats the same steps
        side = list(SIDES)[rng.integers(len(SIDES))]
        images, index, rows = batch_of(pools[side], choose(len(pools[side]["images"]), SIDES[side][0], rng))
        loss = model(images, index, targets(rows))
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
    """The weights of a finished run as a model folder in it, with its card and a projection for the search."""
    weights = {name: array.numpy() for name, array in load_file(run / WEIGHTS_FILE).items()}
    network = Network(weights, mean=(0.45,) * 3, std=(0.25,) * 3)
    teachers = " and ".join(Path(words.partition(",")[0]).name for words in (args.teacher, *args.also))
    card = Card(
        "vgg19-compact",
        "VGG-16's layers, slim in the shallow levels, trained to order patches as the original VGG does",
        network.widths,
        f"tools/distill.py, {args.steps} steps, seed {args.seed}, teacher {teachers}",
        "MIT; taught by weights of K. Simonyan and A. Zisserman (CC BY 4.0)",
    )
    folder = run / "vgg19-compact"
    if folder.exists():
        shutil.rmtree(folder)  # of an earlier, shorter schedule
    export(network, folder, card)
    photos, _ = list_photos(args.photos)
    add_projection(Features(folder, CpuBackend(torch.get_num_threads())), photos, dimensions=SEARCH_DIMENSIONS)
    print(f"{folder} is the model")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", help="model folder, graph or weights: PATH[,weight=W][,preprocessing=NAME]")
    parser.add_argument("photos", type=Path, help="folder of .jpg and .png pictures")
    parser.add_argument("-o", "--output", type=Path, required=True, help="run folder: the pool, checkpoints, weights")
    parser.add_argument(
        "--also", action="append", default=[], metavar="TEACHER", help="another teacher; may be repeated"
    )
    parser.add_argument("--targets", choices=["raw", "projected", "both"], default="both")
    parser.add_argument("--evaluate", type=Path, metavar="FILE", help="print the errors of these weights instead")
    parser.add_argument("--steps", type=int, default=9000, help="length of the schedule (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--crops", type=int, default=2000, help="crops of the smallest side (default %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--bfloat16", action="store_true", help="convolve in bfloat16: pays only where a processor has it"
    )
    parser.add_argument("--checkpoint-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--resume", action="store_true", help="go on from the run folder's checkpoint")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    if not args.evaluate:
        train(args)
        return
    if not args.evaluate.is_file():
        sys.exit(f"distill: no weights at {args.evaluate}")
    _, held_back, targets = prepare(args)
    print(describe(evaluate(load_student(args.evaluate), held_back, targets)))


if __name__ == "__main__":
    main()
