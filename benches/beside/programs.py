#!/usr/bin/env python3
"""Whole registrations beside other programs. See __main__.py.

    python benches/beside/programs.py THREADS [FIXED MOVING FIXED_LABELS MOVING_LABELS]

Every program runs in a process of its own: seconds are those of the whole process, reading and writing included, memory is the most
that was resident. Each writes a displacement field as ITK reads it, and all fields are judged alike, by `stillpoint evaluate`:
Dice of the labels carried by the nearest voxel, share of the voxels that fold by central differences. Deformable stages alone, from the
identity. Settings are those that programs name as usual: greedy NCC 2x2x2, 100x50x10; SimpleITK diffeomorphic demons 200/100/50;
ANTs SyN with mutual information, 40x20x0.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def greedy(fixed, moving, warp, threads):
    from picsl_greedy import Greedy3D

    smoothing = "-s 1.7071vox 0.7071vox"
    Greedy3D().execute(
        f"-i {fixed} {moving} -m NCC 2x2x2 -n 100x50x10 {smoothing} -o {warp} -threads {threads} -V 0"
    )


def demons(fixed, moving, warp, threads):
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(int(threads))
    images = [sitk.ReadImage(path, sitk.sitkFloat32) for path in (fixed, moving)]
    field = None
    for shrink, steps in ((4, 200), (2, 100), (1, 50)):

        def level(image):
            if shrink == 1:
                return image
            sigma = 0.5 * shrink * image.GetSpacing()[0]
            return sitk.Shrink(sitk.SmoothingRecursiveGaussian(image, sigma), [shrink] * 3)

        a, b = (level(image) for image in images)
        solver = sitk.DiffeomorphicDemonsRegistrationFilter()
        solver.SetNumberOfIterations(steps)
        solver.SetStandardDeviations(1.5)
        solver.SetSmoothDisplacementField(True)
        if field is None:
            field = solver.Execute(a, b)
        else:
            kind = field.GetPixelID()
            start = sitk.Resample(field, a, sitk.Transform(), sitk.sitkLinear, 0.0, kind)
            field = solver.Execute(a, b, start)
    sitk.WriteImage(sitk.Cast(field, sitk.sitkVectorFloat32), warp)


def syn(fixed, moving, warp, threads):
    os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = str(threads)
    import shutil

    import ants

    with tempfile.TemporaryDirectory() as folder:
        result = ants.registration(
            ants.image_read(fixed),
            ants.image_read(moving),
            type_of_transform="SyNOnly",
            initial_transform="Identity",
            syn_metric="mattes",
            syn_sampling=32,
            reg_iterations=(40, 20, 0),
            outprefix=os.path.join(folder, "ants"),
        )
        field = [f for f in result["fwdtransforms"] if f.endswith("Warp.nii.gz")]
        shutil.copy(field[0], warp)


OTHERS = {
    "greedy": ("picsl_greedy", greedy),
    "demons (SimpleITK)": ("SimpleITK", demons),
    "SyN, MI (ANTs)": ("ants", syn),
}


def measured(command):
    """Seconds, computed seconds and resident bytes of a process."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        sys.exit(f"{command[0]}: {said.decode(errors='replace')[-2000:]}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def main():
    threads, pair = sys.argv[1], sys.argv[2:]
    build = ["cargo", "build", "--release", "--bin", "stillpoint", "--message-format", "json"]
    built = subprocess.run(build, cwd=ROOT, capture_output=True, text=True)
    if built.returncode != 0:
        sys.exit(built.stderr)
    messages = (json.loads(line) for line in built.stdout.splitlines() if line.startswith("{"))
    program = [m["executable"] for m in messages if m.get("executable")][-1]
    with tempfile.TemporaryDirectory() as folder:
        if not pair:
            subprocess.run([program, "demo", "--quiet", "-o", f"{folder}/demo"], check=True)
            names = ["fixed", "moving", "fixed_labels", "moving_labels"]
            pair = [f"{folder}/demo_{name}.nii.gz" for name in names]
        fixed, moving, fixed_labels, moving_labels = pair
        print(f"{threads} threads, {fixed}\n")
        print(f"{'program':<22} {'s':>8} {'computed s':>11} {'MB':>7} {'Dice':>7} {'folds %':>9}")

        def row(name, warp, spent):
            judge = [program, "evaluate", "--json", "-t", warp]
            judge += ["--fixed-labels", fixed_labels, "--moving-labels", moving_labels]
            found = json.loads(subprocess.run(judge, check=True, capture_output=True).stdout)
            dice, folds = found["overlap"]["mean_dice"], found["regularity"]["folds_percent"]
            seconds, computed, memory = spent
            print(
                f"{name:<22} {seconds:>8.2f} {computed:>11.2f} {memory / 1e6:>7.0f} {dice:>7.3f} {folds:>9.3f}",
                flush=True,
            )

        ours = [program, "register", "--fixed", fixed, "--moving", moving, "--quiet"]
        ours += ["-t", "compositive", "--init", "identity", "--threads", threads, "-o", f"{folder}/ours"]
        row("stillpoint", f"{folder}/ours_warp.nii.gz", measured(ours))
        for name, (module, _) in OTHERS.items():
            if importlib.util.find_spec(module) is None:
                print(f"{name:<22} {module} is not installed")
                continue
            warp = f"{folder}/warp.nii.gz"
            this = [sys.executable, os.path.abspath(__file__), "--run", name, fixed, moving, warp, threads]
            row(name, warp, measured(this))


if sys.argv[1] == "--run":
    OTHERS[sys.argv[2]][1](*sys.argv[3:])
else:
    main()
