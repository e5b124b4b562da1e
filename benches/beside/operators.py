#!/usr/bin/env python3
"""Convolutions, a whole network, warps, smoothing and local correlation beside PyTorch. See __main__.py.

    python benches/beside/operators.py [THREADS]

Runs `cargo bench` of `network` and `ops`, then the same operators and the same U-Net in PyTorch on the CPU, networks planar and
channels last, of which the faster counts. PyTorch's side runs with an allocator that keeps freed memory (glibc's, told so by
its environment variables), as ours does; with stock settings it is slower. Medians of seven.
"""

import os
import re
import statistics
import subprocess
import sys
import time

THREADS = sys.argv[1] if len(sys.argv) > 1 else str(os.cpu_count())
ALLOCATOR = {
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(32 << 30),
    "MALLOC_TOP_PAD_": str(1 << 30),
}

if os.environ.get("MALLOC_MMAP_MAX_") != "0":
    # the allocator reads its settings when a process starts
    os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **ALLOCATOR})

import torch
import torch.nn.functional as F

torch.set_num_threads(int(THREADS))


def ours(bench, pattern):
    """The table at the end of a benchmark: its rows, by a pattern of them."""
    environment = {k: v for k, v in os.environ.items() if k not in ALLOCATOR}
    environment["RAYON_NUM_THREADS"] = THREADS
    command = ["cargo", "bench", "--bench", *bench, "--quick"]
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    run = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    if run.returncode != 0:
        sys.exit(run.stderr)
    table = run.stdout[run.stdout.rindex("operator ") :]
    return {m[1]: float(m[2]) for m in re.finditer(pattern, table, re.M)}


def median(work, rounds=7):
    work()
    work()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def convolutions(edge, step, inputs, outputs, size, last):
    rank, batch = len(size), 16 if len(size) == 2 else 1
    planar = torch.contiguous_format
    layout = {2: torch.channels_last, 3: torch.channels_last_3d}[rank] if last else planar
    results = [-(-n // step) for n in size]
    shapes = ((inputs, size), (outputs, results))
    x, g = (torch.rand(batch, c, *n).sub_(0.5).to(memory_format=layout) for c, n in shapes)
    w = torch.rand(outputs, inputs, *[edge] * rank).sub_(0.5).to(memory_format=layout)
    ones, zeros, padding = [1] * rank, [0] * rank, [edge // 2] * rank
    stride = [step] * rank
    convolve = {2: F.conv2d, 3: F.conv3d}[rank]

    def back(mask):
        backward = torch.ops.aten.convolution_backward
        return lambda: backward(g, x, w, None, stride, padding, ones, False, zeros, 1, mask)

    with torch.no_grad():
        return {
            "forward": median(lambda: convolve(x, w, stride=stride, padding=padding)),
            "to data": median(back([True, False, False])),
            "to weights": median(back([False, True, False])),
        }


class Block(torch.nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.convolution = torch.nn.Conv3d(inputs, outputs, 3, padding=1, bias=False)
        self.norm = torch.nn.InstanceNorm3d(outputs, affine=True)

    def forward(self, x):
        return F.leaky_relu(self.norm(self.convolution(x)), 0.1)


class Unet(torch.nn.Module):
    """As `NetworkConfig::unet(3, 1)`."""

    def __init__(self, widths=(16, 32, 32, 32), outputs=16):
        super().__init__()
        before = (1, *widths)
        pair = lambda a, b: torch.nn.Sequential(Block(a, b), Block(b, b))
        self.encoder = torch.nn.ModuleList(pair(before[s], w) for s, w in enumerate(widths))
        joined = zip(widths, widths[1:])
        self.decoder = torch.nn.ModuleList(pair(a + b, a) for a, b in joined)
        heads = (torch.nn.Conv3d(w, outputs, 3, padding=1) for w in widths[:3])
        self.heads = torch.nn.ModuleList(heads)

    def forward(self, x):
        maps = []
        for scale, blocks in enumerate(self.encoder):
            maps.append(blocks(x if scale == 0 else F.avg_pool3d(maps[-1], 2)))
        for scale in reversed(range(len(self.decoder))):
            size = maps[scale].shape[2:]
            coarser = F.interpolate(maps[scale + 1], size=size, mode="trilinear")
            maps[scale] = self.decoder[scale](torch.cat([maps[scale], coarser], 1))
        return [torch.tanh(head(m)) for head, m in zip(self.heads, maps)]


def network(last):
    layout = torch.channels_last_3d if last else torch.contiguous_format
    net = Unet().to(memory_format=layout)
    x = torch.rand(1, 1, 80, 96, 112).to(memory_format=layout)

    def forward():
        with torch.no_grad():
            net(x)

    def both():
        net.zero_grad()
        sum(m.square().mean() for m in net(x)).backward()

    return {"forward": median(forward, 3), "forward and backward": median(both, 3)}


def displaced(size):
    """A smooth displacement `[1, nz, ny, nx, 3]` and the places it starts from."""
    coarse = torch.rand(1, 3, *(n // 16 for n in size)).sub_(0.5).mul_(0.04)
    u = F.interpolate(coarse, size=size, mode="trilinear", align_corners=True)
    grid = F.affine_grid(torch.eye(3, 4)[None], (1, 1, *size), align_corners=True)
    return u.permute(0, 2, 3, 4, 1).contiguous(), grid


def sample(what, where):
    return F.grid_sample(what, where, padding_mode="border", align_corners=True)


def warps(channels, size):
    """The warp of so many channels by a smooth displacement, and its two derivatives; sizes slowest axis first."""
    image, g = torch.rand(1, channels, *size), torch.rand(1, channels, *size)
    field, grid = displaced(size)

    def back(mask):
        backward = torch.ops.aten.grid_sampler_3d_backward
        return lambda: backward(g, image, grid + field, 0, 1, True, mask)

    with torch.no_grad():
        return {
            "warp": median(lambda: sample(image, grid + field)),
            "warp gradient": median(back([False, True])),
            "warp adjoint": median(back([True, False])),
        }


def operators(size):
    """Warps, smoothing and local correlation, of one volume; sizes slowest axis first."""
    image, g = torch.rand(1, 1, *size), torch.rand(1, 1, *size)
    field, grid = displaced(size)
    u = field.permute(0, 4, 1, 2, 3).contiguous()
    x = torch.arange(-3.0, 4.0)
    taps = torch.exp(-0.5 * x * x)
    taps /= taps.sum()

    def smooth():
        y = image
        for axis in range(3):
            shape, padding = [1] * 5, [0] * 3
            shape[2 + axis], padding[axis] = 7, 3
            y = F.conv3d(y, taps.view(shape), padding=padding)
        return y

    def mean(y):
        for axis in range(3):
            window, padding = [1] * 3, [0] * 3
            window[axis], padding[axis] = 9, 4
            y = F.avg_pool3d(y, window, 1, padding, count_include_pad=False)
        return y

    def correlation(a, b):
        of_a, of_b = mean(a), mean(b)
        ab = mean(a * b) - of_a * of_b
        aa, bb = mean(a * a) - of_a * of_a, mean(b * b) - of_b * of_b
        return 1 - (ab * ab / (aa * bb + 1e-5)).mean()

    def correlation_gradient():
        with torch.enable_grad():
            a, b = (t.detach().requires_grad_() for t in (image, g))
            torch.autograd.grad(correlation(a, b), (a, b))

    with torch.no_grad():
        return {
            **{f"{what}, Linear": ms for what, ms in warps(1, size).items()},
            "compose": median(lambda: u + sample(u, grid + field)),
            "smooth, sigma 1": median(smooth),
            "lncc, window 9": median(lambda: correlation(image, g)),
            "lncc gradient, window 9": median(correlation_gradient),
        }


def main():
    convolved = ours(["network", "--"], r"^(\S.*?) {2,}([\d.]+) ")
    size = "192x224x160"
    of_size = ["ops", "--", f"(warp|compose|smooth|lncc).* {size}"]
    pattern_of_ops = r"^(\S.*?) {2,}[\d.]+ +([\d.]+) "
    others = ours(of_size, pattern_of_ops)
    print(f"{THREADS} threads, PyTorch {torch.__version__}; ms\n")
    print(f"{'operator':<44} {'ours':>8} {'planar':>8} {'last':>8} {'ratio':>6}")

    def row(key, mine, planar, last):
        theirs = min(planar, last)
        last = "" if last == float("inf") else f"{last:.2f}"
        print(f"{key:<44} {mine:>8.2f} {planar:>8.2f} {last:>8} {theirs / mine:>6.2f}", flush=True)

    def rows(name, work):
        planar, last = work(False), work(True)
        for what in planar:
            key = f"{name}, {what}"
            row(key, convolved[key], planar[what], last[what])

    pattern = r"(\d)( by 2)?: (\d+)->(\d+) at ([\dx]+), forward"
    for match in filter(None, (re.fullmatch(pattern, key) for key in convolved)):
        edge, step = int(match[1]), 2 if match[2] else 1
        inputs, outputs, voxels = int(match[3]), int(match[4]), match[5]
        voxels = [int(n) for n in voxels.split("x")]
        name = match[0].removesuffix(", forward")
        rows(name, lambda last: convolutions(edge, step, inputs, outputs, voxels, last))
    rows("U-Net", network)
    for what, theirs in operators([int(n) for n in size.split("x")][::-1]).items():
        row(f"{what}, {size}", others[what], theirs, float("inf"))
    size, channels = "96x112x80", 16
    others = ours(["ops", "--", f"warp.* {channels} channels {size}"], pattern_of_ops)
    for what, theirs in warps(channels, [int(n) for n in size.split("x")][::-1]).items():
        what = f"{what}, {channels} channels"
        row(f"{what}, {size}", others[what], theirs, float("inf"))


main()
