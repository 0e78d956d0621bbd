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
import math
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.lib.format import open_memmap
from PIL import Image, ImageFilter, ImageOps
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

WIDTHS = {1: 16, 2: 32, 3: 64, 4: 128, 5: 128}
LEVELS = tuple(WIDTHS)
LAYERS = [f"conv{level}_{i + 1}" for level, count in zip(LEVELS, (2, 2, 4, 4, 1), strict=True) for i in range(count)]
OUTPUTS = [f"relu{level}_1" for level in LEVELS]
LEVEL_WEIGHT = {1: 1.0, 2: 1.0, 3: 1.0, 4: 1.5, 5: 2.0}  # the deep levels are the hardest, and start the search
TERMS = {"linear": 1.0, "relational": 4.0, "norm": 0.5}
# Crop side -> crops per batch and positions per crop: about equal pixels, and N = 384, whatever the side. Multiples of
# 16, so that the teacher's and the student's pooling agree on the shapes.
SIDES = {144: (8, 48), 208: (4, 96)}
EVALUATION = (208, 8)  # side and crops per batch of the held-back photos
PEAK_RATE = {"muon": 8e-3, "adamw": 5e-3}
WARM_UP = 100
HOLD_BACK = 20  # every 20th photo is for evaluation only
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

    def load_weights(self, weights: dict[str, torch.Tensor]) -> None:
        """The inverse of `weights`."""
        with torch.no_grad():
            for name in LAYERS:
                self.kernel(name).copy_(weights[f"{name}.weight"])
                self.biases[name].copy_(weights[f"{name}.bias"])


# -- the pool of crops and the teacher's features ---------------------------------------------------------------------


def list_photos(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures for training and those held back, by sorted name."""
    photos = sorted(p for p in folder.rglob("*") if p.suffix.lower() in {".jpg", ".jpeg", ".png"})
    if len(photos) < 2:
        sys.exit(f"distill: no photos in {folder}: at least two .jpg or .png files are needed")
    held_back = photos[::HOLD_BACK]
    return [p for p in photos if p not in set(held_back)], held_back


def load_teacher(path: Path) -> onnxruntime.InferenceSession:
    """The teacher's session, on as many threads as torch."""
    if not path.is_file():
        sys.exit(f"distill: no teacher at {path}: an ONNX file with the outputs {', '.join(OUTPUTS)} is needed")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def augmented_crop(photo: Image.Image, side: int, rng: np.random.Generator) -> np.ndarray:
    """A random square of 25-100 % of the short side, resized to (side, side, 3) uint8, in a random look.

    Half get a gain and an offset per channel; a tenth are grey, and a tenth drawn or posterised, for the style side.
    """
    edge = min(photo.size) * rng.uniform(0.25, 1)
    x, y = rng.uniform(0, photo.width - edge), rng.uniform(0, photo.height - edge)
    crop = photo.resize((side, side), Image.Resampling.BICUBIC, box=(x, y, x + edge, y + edge))
    if rng.random() < 0.5:
        crop = ImageOps.mirror(crop)
    look = rng.random()
    if look < 0.1:
        crop = ImageOps.grayscale(crop).convert("RGB")
    elif look < 0.13:
        crop = ImageOps.posterize(crop.filter(ImageFilter.MedianFilter(5)), int(rng.integers(1, 4)))
    elif look < 0.16:
        edges = ImageOps.grayscale(crop).filter(ImageFilter.FIND_EDGES)
        crop = ImageOps.autocontrast(ImageOps.invert(edges)).convert("RGB")
    elif look < 0.2:
        crop = crop.filter(ImageFilter.ModeFilter(7))
    pixels = np.asarray(crop, np.float32)
    if rng.random() < 0.5:
        pixels = pixels * rng.uniform(0.6, 1.4, 3) + rng.uniform(-40, 40, 3)
    return pixels.clip(0, 255).round().astype(np.uint8)


def centre_crop(photo: Image.Image, side: int, rng: np.random.Generator) -> np.ndarray:
    """The central square, resized to (side, side, 3) uint8: what evaluation looks at."""
    return np.asarray(ImageOps.fit(photo, (side, side), Image.Resampling.BICUBIC))


def make_pool(folder: Path, teacher, photos: list[Path], side: int, count: int, seed: int, crop) -> Path:
    """Write `count` crops of `side` pixels, with the teacher's features at random positions, as .npy files.

    `images` (count, side, side, 3) uint8 and, per level, `index{level}` (count, P) int32, flat positions in the level's
    map, and `teacher{level}` (count, P, C) float16. A folder that is there is whole, and is kept. Returns `folder`.
    """
    if folder.exists():
        return folder
    scratch = folder.with_suffix(".tmp")
    scratch.mkdir(parents=True, exist_ok=True)
    positions = min(SIDES[side][1], (side // 16) ** 2)
    pool = {"images": open_memmap(scratch / "images.npy", "w+", np.uint8, (count, side, side, 3))}
    for k in range(count):
        rng = np.random.default_rng([seed, side, k])
        with Image.open(photos[k % len(photos)]) as photo:
            image = pool["images"][k] = crop(photo.convert("RGB"), side, rng)
        maps = teacher.run(OUTPUTS, {"image": image.transpose(2, 0, 1)[None].astype(np.float32) / 255})
        for level, features in zip(LEVELS, maps, strict=True):
            rows = features[0].reshape(features.shape[1], -1).T
            sample = {f"index{level}": rng.permutation(len(rows))[:positions].astype(np.int32)}
            sample[f"teacher{level}"] = rows[sample[f"index{level}"]].astype(np.float16)
            for name, value in sample.items():
                if k == 0:
                    pool[name] = open_memmap(scratch / f"{name}.npy", "w+", value.dtype, (count, *value.shape))
                pool[name][k] = value
        if (k + 1) % 500 == 0:
            print(f"pool of {side} px: {k + 1} of {count} crops", flush=True)
    return scratch.replace(folder)


def read_pool(folder: Path) -> dict[str, np.ndarray]:
    """What `make_pool` wrote, left on disk: a batch reads only its own crops."""
    return {path.stem: np.load(path, mmap_mode="r") for path in folder.glob("*.npy")}


def read_held_back(folder: Path, teacher, photos: list[Path]) -> dict[str, np.ndarray]:
    """The evaluation pool, made in `folder` at the first call: one central square per held-back photo."""
    return read_pool(make_pool(folder, teacher, photos, EVALUATION[0], len(photos), 0, centre_crop))


def batch_of(pool: dict[str, np.ndarray], chosen: np.ndarray):
    """Images (B, 3, H, W) in 0..1; per level, flat positions (N,) in the batch's maps and the teacher's (N, C)."""
    images = torch.from_numpy(pool["images"][chosen]).permute(0, 3, 1, 2).float() / 255
    side, index, target = images.shape[-1], {}, {}
    for level in LEVELS:
        area = (side >> (level - 1)) ** 2
        first = np.arange(len(chosen))[:, None] * area
        index[level] = torch.from_numpy((first + pool[f"index{level}"][chosen]).ravel())
        target[level] = torch.from_numpy(pool[f"teacher{level}"][chosen]).flatten(0, 1).float()
    return images, index, target


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
    design = torch.cat([student, torch.ones(len(student), 1)], 1).double()
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

        Roots keep a level of small error in the sum: after 250 steps every level was better than with the squares.
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
        if done % args.checkpoint_every == 0 or done == args.steps:
            state = {"settings": settings, "step": done, "model": model.state_dict()}
            state |= {name: optimiser.state_dict() for name, optimiser in optimisers.items()}
            replace_file(checkpoint, lambda path: torch.save(state, path))  # noqa: B023 - called at once
            replace_file(run / WEIGHTS_FILE, lambda path: save_file(model.student.weights(), path))
            print(describe(evaluate(model.student, held_back)), flush=True)
    print(f"{run / WEIGHTS_FILE} is done; make it a model: python tools/export_vgg19.py {run / WEIGHTS_FILE} -o FOLDER")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("teacher", type=Path, help="ONNX model: RGB 0..1 NCHW -> relu1_1 .. relu5_1")
    parser.add_argument("photos", type=Path, help="folder of .jpg and .png pictures")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("-o", "--output", type=Path, help="run folder: the pool (about 4 GB), checkpoints, weights")
    what.add_argument("--evaluate", type=Path, metavar="FILE", help="print the errors of these weights instead")
    parser.add_argument("--steps", type=int, default=16000, help="length of the schedule (default %(default)s)")
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
    student = Student()
    student.load_weights(load_file(args.evaluate))
    with tempfile.TemporaryDirectory() as folder:
        pool = read_held_back(Path(folder) / "held-back", load_teacher(args.teacher), list_photos(args.photos)[1])
        print(describe(evaluate(student, pool)))


if __name__ == "__main__":
    main()
