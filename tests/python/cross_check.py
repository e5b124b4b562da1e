"""Reads with SimpleITK and nibabel what stillpoint wrote, and writes files for stillpoint to read.

Usage: cross_check.py FOLDER. FOLDER/expected.json lists what stillpoint wrote and where its points lie; problems are
printed and counted in the exit status. FOLDER/theirs.json then lists what was written here. World points are RAS mm.

Entries of kind "applied" name transforms, and points and images that `stillpoint apply` carried through them; SimpleITK
and, where it is installed, ANTs (antspyx) carry the same, and the largest differences are printed.
"""

import json
import sys
from pathlib import Path

import nibabel
import numpy
import SimpleITK as sitk

try:
    import ants
    import pandas
except ImportError:
    ants = None

TOLERANCE = 1e-3
KINDS = {
    "uint8": sitk.sitkUInt8,
    "int16": sitk.sitkInt16,
    "uint16": sitk.sitkUInt16,
    "int32": sitk.sitkInt32,
    "float32": sitk.sitkFloat32,
    "float64": sitk.sitkFloat64,
}
problems = []
largest = {}


def check(what, found, expected, tolerance=TOLERANCE):
    found, expected = numpy.ravel(found), numpy.ravel(expected)
    apart = numpy.abs(found - expected).max() if found.shape == expected.shape else numpy.inf
    if not apart <= tolerance:
        problems.append(f"{what}: found {found}, expected {expected}")


def flip(point):
    """From LPS to RAS, or back."""
    return [-point[0], -point[1], *point[2:]]


def check_image(folder, entry):
    path, rank = str(folder / entry["file"]), entry["rank"]
    itk, nifti = sitk.ReadImage(path), nibabel.load(path)
    values = numpy.asarray(nifti.dataobj)
    for point in entry["points"]:
        index, world = point["index"], point["world"][:rank]
        name = f"{entry['file']} at {index}"
        check(f"SimpleITK, place of {name}", flip(itk.TransformIndexToPhysicalPoint(index)), world)
        place = nifti.affine @ [*index, *[0] * (3 - rank), 1]
        check(f"nibabel, place of {name}", place[:rank], world)
        if "vector" in point:
            vector = point["vector"][:rank]
            check(f"SimpleITK, vector of {name}", flip(itk.GetPixel(index)), vector)
            found = values[(*index, *[0] * (3 - rank), 0)]
            check(f"nibabel, vector of {name}", flip(found), vector)
            check(f"intent of {name}", nifti.header["intent_code"], 1007, 0)
        else:
            check(f"SimpleITK, value of {name}", itk.GetPixel(index), point["value"], 1e-6)
            check(f"nibabel, value of {name}", values[tuple(index)], point["value"], 1e-6)


def check_affine(folder, entry):
    transform = sitk.ReadTransform(str(folder / entry["file"]))
    rank = entry["rank"]
    for point in entry["points"]:
        moved = transform.TransformPoint(flip(point["from"][:rank]))
        check(f"SimpleITK, {entry['file']} of {point['from']}", flip(moved), point["to"][:rank])


def itk_chain(folder, entry):
    """The listed transforms as one of ITK's; a composite applies what was added last to points first."""
    whole = sitk.CompositeTransform(entry["rank"])
    for listed in reversed(entry["transforms"]):
        path = str(folder / listed["file"])
        if path.endswith(".nii.gz"):
            field = sitk.Cast(sitk.ReadImage(path), sitk.sitkVectorFloat64)
            whole.AddTransform(sitk.DisplacementFieldTransform(field))
        else:
            transform = sitk.ReadTransform(path)
            whole.AddTransform(transform.GetInverse() if listed["inverse"] else transform)
    return whole


def compare(what, name, found, expected, tolerance=TOLERANCE):
    apart = numpy.abs(numpy.asarray(found, float) - numpy.asarray(expected, float))
    largest[what] = max(largest.get(what, 0.0), float(apart.max()))
    if not apart.max() <= tolerance:
        problems.append(f"{what}, {name}: {apart.max()} apart, {(apart > tolerance).sum()} of {apart.size}")


def check_applied(folder, entry):
    rank, name = entry["rank"], entry["name"]
    chain = itk_chain(folder, entry)
    before, after = (
        numpy.loadtxt(folder / entry[key], delimiter=",", skiprows=1)[:, :rank] for key in ("points", "moved")
    )
    assert numpy.abs(before - after).max() > 1
    compare("SimpleITK, points, mm", name, [chain.TransformPoint(p) for p in before.tolist()], after)
    reference, moving = (sitk.ReadImage(str(folder / entry[key])) for key in ("reference", "moving"))
    kinds = {"linear": sitk.sitkLinear, "nearest": sitk.sitkNearestNeighbor, "cubic": sitk.sitkBSpline}
    for kind, code in kinds.items():
        ours = sitk.GetArrayFromImage(sitk.ReadImage(str(folder / entry[kind])))
        theirs = sitk.GetArrayFromImage(sitk.Resample(moving, reference, chain, code, 0.0, sitk.sitkFloat32))
        assert (ours != 0).mean() > 0.3
        compare(f"SimpleITK, image, {kind}", name, theirs, ours)
    if ants is None:
        return
    listed = [str(folder / t["file"]) for t in entry["transforms"]]
    inverse = [t["inverse"] for t in entry["transforms"]]
    table = pandas.DataFrame(before, columns=["x", "y", "z"][:rank])
    moved = ants.apply_transforms_to_points(rank, table, listed, whichtoinvert=inverse)
    compare("ANTs, points, mm", name, moved.to_numpy()[:, :rank], after)
    reference, moving, labels = (ants.image_read(str(folder / entry[key])) for key in ("reference", "moving", "labels"))
    kinds = {"linear": "linear", "nearest": "nearestNeighbor", "cubic": "bSpline", "label": "genericLabel"}
    for kind, word in kinds.items():
        ours = ants.image_read(str(folder / entry[kind])).numpy()
        source = labels if kind == "label" else moving
        theirs = ants.apply_transforms(reference, source, listed, interpolator=word, whichtoinvert=inverse)
        compare(f"ANTs, image, {kind}", name, theirs.numpy(), ours)


def itk_geometry(path):
    """Index to world (RAS) as ITK reads a file, three rows of four; None where it refuses."""
    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        return None
    origin = numpy.array(flip(image.TransformIndexToPhysicalPoint([0, 0, 0])))
    axes = [numpy.array(flip(image.TransformIndexToPhysicalPoint(list(map(int, e))))) - origin for e in numpy.eye(3)]
    return numpy.column_stack([*axes, origin]).tolist()


def oblique(rank):
    if rank == 2:
        c, s = numpy.cos(0.4), numpy.sin(0.4)
        return numpy.array([[c, s], [s, -c]])
    turn = sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.5).GetMatrix()
    return numpy.reshape(turn, (3, 3)) @ numpy.diag([1, -1, 1])


def random_image(rank, kind, vector=False):
    generator = numpy.random.default_rng(5)
    shape = (7, 6, 5)[3 - rank:]
    values = generator.normal(scale=40, size=(*shape, rank) if vector else shape).astype(kind)
    image = sitk.GetImageFromArray(values, isVector=vector)
    image.SetSpacing((0.7, 1.3, 2.5)[:rank])
    image.SetOrigin((11.0, -23.0, 37.0)[:rank])
    image.SetDirection(oblique(rank).ravel())
    return image


def points_of(image, vector=False):
    size = image.GetSize()
    for index in ([0] * len(size), [n - 1 for n in size], [1, 2, 3][: len(size)]):
        world = flip(image.TransformIndexToPhysicalPoint(index))
        value = image.GetPixel(index)
        entry = {"index": index, "world": [*world, 0.0][:3]}
        entry["vector" if vector else "value"] = [*flip(value), 0.0][:3] if vector else float(value)
        yield entry


def write_images(folder):
    for rank in (2, 3):
        for ending in ("nii", "nii.gz", "mha", "mhd"):
            for kind, code in KINDS.items():
                image = random_image(rank, "float32")
                if kind.startswith("uint"):
                    image = sitk.Abs(image)
                image = sitk.Cast(image, code)
                name = f"itk_{rank}_{kind}.{ending}"
                sitk.WriteImage(image, str(folder / name), useCompression=kind in ("int16", "float32"))
                yield {"file": name, "kind": "image", "rank": rank, "points": list(points_of(image))}
        field = random_image(rank, "float32", vector=True)
        name = f"itk_{rank}_field.nii.gz"
        sitk.WriteImage(field, str(folder / name))
        yield {"file": name, "kind": "field", "rank": rank, "points": list(points_of(field, vector=True))}


def write_nibabel(folder):
    values = numpy.random.default_rng(6).integers(-90, 90, size=(5, 6, 7)).astype("int16")
    affine = numpy.eye(4)
    affine[:3, :3] = oblique(3) @ numpy.diag([0.7, 1.3, 2.5])
    affine[:3, 3] = (11.0, -23.0, 37.0)
    for name, codes, order in (
        ("sform", (1, 0), "<"), ("sform_big", (2, 0), ">"), ("qform", (0, 1), "<"), ("both", (2, 2), ">"),
    ):
        header = nibabel.Nifti1Header(endianness=order)
        header.set_data_dtype(values.dtype.newbyteorder(order))
        image = nibabel.Nifti1Image(values, affine, header)
        image.set_sform(affine, codes[0])
        image.set_qform(affine, codes[1])
        image.header.set_slope_inter(0.5, 3)
        for ending in ("nii", "nii.gz"):
            file = f"nibabel_{name}.{ending}"
            nibabel.save(image, str(folder / file))
            stored = numpy.asarray(nibabel.load(str(folder / file)).dataobj)
            points = [
                {"index": index, "world": (affine @ [*index, 1])[:3].tolist(), "value": float(stored[tuple(index)])}
                for index in ([0, 0, 0], [4, 5, 6], [1, 2, 3])
            ]
            yield {"file": file, "kind": "image", "rank": 3, "points": points}


def write_affines(folder):
    matrix = (oblique(3) @ numpy.array([[1.1, 0.1, 0.0], [0.0, 0.9, 0.2], [0.0, 0.0, 1.2]])).ravel()
    versor = sitk.VersorRigid3DTransform()
    versor.SetRotation((1.0, 2.0, -0.5), 0.7)
    versor.SetTranslation((4.0, 5.0, 6.0))
    versor.SetCenter((10.0, -20.0, 30.0))
    euler = sitk.Euler3DTransform((10.0, -20.0, 30.0), 0.3, -0.2, 0.5, (4.0, 5.0, 6.0))
    zyx = sitk.Euler3DTransform(euler)
    zyx.SetComputeZYX(True)
    for name, transform in (
        ("affine", sitk.AffineTransform(matrix.tolist(), (4.0, 5.0, 6.0), (10.0, -20.0, 30.0))),
        ("euler", euler), ("euler_zyx", zyx), ("versor", versor),
        ("translation", sitk.TranslationTransform(3, (4.0, 5.0, 6.0))),
        ("affine_2d", sitk.AffineTransform([1.1, 0.2, -0.3, 0.9], (4.0, 5.0), (10.0, -20.0))),
        ("euler_2d", sitk.Euler2DTransform((10.0, -20.0), 0.3, (4.0, 5.0))),
    ):
        rank = transform.GetDimension()
        points = []
        for start in ((0.0, 0.0, 0.0), (30.0, -40.0, 50.0), (-7.0, 80.0, 3.0)):
            moved = flip(transform.TransformPoint(flip(start[:rank])))
            points.append({"from": [*start[:rank], 0.0][:3], "to": [*moved, 0.0][:3]})
        for ending in ("mat", "tfm", "txt"):
            file = f"{name}.{ending}"
            sitk.WriteTransform(transform, str(folder / file))
            yield {"file": file, "kind": "affine", "rank": rank, "points": points}


def main():
    folder = Path(sys.argv[1])
    for entry in json.loads((folder / "expected.json").read_text()):
        check_one = {"affine": check_affine, "applied": check_applied}.get(entry["kind"], check_image)
        check_one(folder, entry)
    theirs = [*write_images(folder), *write_nibabel(folder), *write_affines(folder)]
    for path in sorted(folder.glob("trap_*.nii")):
        theirs.append({"file": path.name, "kind": "trap", "itk": itk_geometry(path)})
    (folder / "theirs.json").write_text(json.dumps(theirs))
    if largest and ants is None:
        print("skipped: ANTs (antspyx) is not installed")
    for what, apart in largest.items():
        print(f"largest difference, {what}: {apart:.2e}")
    print("\n".join(problems))
    sys.exit(min(len(problems), 100))


if __name__ == "__main__":
    main()
