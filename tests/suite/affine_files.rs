//! Affine files move physical points to where ITK says they go.

use approx::assert_abs_diff_eq;
use stillpoint::{read_affine, write_affine, Affine, Rng};

/// A MATLAB 4 matrix.
fn matlab(name: &str, numbers: &[f64], single: bool, big: bool) -> Vec<u8> {
    let mut out = Vec::new();
    let kind = if single { 10 } else { 0 } + if big { 1000 } else { 0 };
    let mut put = |little: &[u8]| {
        let mut bytes = little.to_vec();
        if big {
            bytes.reverse();
        }
        out.extend(bytes);
    };
    for word in [kind, numbers.len() as i32, 1, 0, name.len() as i32 + 1] {
        put(&word.to_le_bytes());
    }
    let mut tail = Vec::new();
    for number in numbers {
        let mut bytes = if single {
            (*number as f32).to_le_bytes().to_vec()
        } else {
            number.to_le_bytes().to_vec()
        };
        if big {
            bytes.reverse();
        }
        tail.extend(bytes);
    }
    out.extend(name.as_bytes());
    out.push(0);
    out.extend(tail);
    out
}

fn text(kind: &str, parameters: &str, fixed: &str) -> String {
    format!("#Insight Transform File V1.0\n#Transform 0\nTransform: {kind}\nParameters: {parameters}\nFixedParameters: {fixed}\n")
}

#[track_caller]
fn assert_maps(map: &Affine, from: [f64; 3], to: [f64; 3]) {
    let found = map.apply(from);
    for r in 0..3 {
        assert_abs_diff_eq!(found[r], to[r], epsilon = 1e-5);
    }
}

#[test]
fn a_turn_about_a_centre_in_lps() {
    // y = A (x - c) + c + t in LPS: a quarter turn about z at c = (10, 20, 30), then t = (1, 2, 3).
    let parameters = [0.0, -1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 2.0, 3.0];
    let centre = [10.0, 20.0, 30.0];
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.mat");
    for single in [false, true] {
        for big in [false, true] {
            let name = if single {
                "AffineTransform_float_3_3"
            } else {
                "AffineTransform_double_3_3"
            };
            let mut bytes = matlab(name, &parameters, single, big);
            bytes.extend(matlab("fixed", &centre, single, big));
            std::fs::write(&path, bytes).unwrap();
            let map = read_affine(&path, 3).unwrap();
            // LPS (15, 20, 30) -> (10, 25, 30) + t = (11, 27, 33); in RAS x and y are negated on both sides.
            assert_maps(&map, [-15.0, -20.0, 30.0], [-11.0, -27.0, 33.0]);
        }
    }
    let list = |numbers: &[f64]| {
        numbers
            .iter()
            .map(f64::to_string)
            .collect::<Vec<_>>()
            .join(" ")
    };
    for kind in [
        "AffineTransform_double_3_3",
        "MatrixOffsetTransformBase_double_3_3",
    ] {
        let path = folder.path().join("a.tfm");
        std::fs::write(&path, text(kind, &list(&parameters), &list(&centre))).unwrap();
        let map = read_affine(&path, 3).unwrap();
        assert_maps(&map, [-15.0, -20.0, 30.0], [-11.0, -27.0, 33.0]);
    }
}

#[test]
fn rigid_transforms() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.txt");
    let quarter = std::f64::consts::FRAC_PI_2.to_string();
    let half = std::f64::consts::FRAC_1_SQRT_2.to_string();
    for (kind, parameters, rank) in [
        (
            "Euler3DTransform_double_3_3",
            format!("0 0 {quarter} 1 2 3"),
            3,
        ),
        (
            "VersorRigid3DTransform_double_3_3",
            format!("0 0 {half} 1 2 3"),
            3,
        ),
        ("Euler2DTransform_double_2_2", format!("{quarter} 1 2"), 2),
        ("AffineTransform_double_2_2", "0 -1 1 0 1 2".to_owned(), 2),
    ] {
        let centre = if rank == 3 { "10 20 30" } else { "10 20" };
        std::fs::write(&path, text(kind, &parameters, centre)).unwrap();
        let z = if rank == 3 { 3.0 } else { 0.0 };
        assert_maps(
            &read_affine(&path, rank).unwrap(),
            [-15.0, -20.0, 0.0],
            [-11.0, -27.0, z],
        );
        let error = read_affine(&path, 5 - rank).unwrap_err().to_string();
        assert!(error.contains("rank"), "{error}");
    }
    // Euler angles turn about y first, then x, then z; the other way round with the flag.
    let angles = format!("{quarter} {quarter} 0 0 0 0");
    std::fs::write(&path, text("Euler3DTransform_double_3_3", &angles, "0 0 0")).unwrap();
    // LPS z -> about y: x -> about x: x.
    assert_maps(
        &read_affine(&path, 3).unwrap(),
        [0.0, 0.0, 1.0],
        [-1.0, 0.0, 0.0],
    );
    std::fs::write(
        &path,
        text("Euler3DTransform_double_3_3", &angles, "0 0 0 1"),
    )
    .unwrap();
    // LPS z -> about x: -y -> about y: -y, which is +y in RAS.
    assert_maps(
        &read_affine(&path, 3).unwrap(),
        [0.0, 0.0, 1.0],
        [0.0, 1.0, 0.0],
    );
    std::fs::write(&path, text("TranslationTransform_double_3_3", "1 2 3", "")).unwrap();
    assert_maps(&read_affine(&path, 3).unwrap(), [0.0; 3], [-1.0, -2.0, 3.0]);
}

#[test]
fn what_is_written_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut rng = Rng::new(8);
    for rank in [2, 3] {
        let mut map = Affine::identity();
        for r in 0..rank {
            for c in 0..rank {
                map.matrix[r][c] += 0.2 * rng.normal();
            }
            map.translation[r] = 30.0 * rng.normal();
        }
        for name in ["a.mat", "a.txt", "a.tfm", "a.MAT"] {
            let path = folder.path().join(name);
            write_affine(&path, &map, rank).unwrap();
            assert_eq!(read_affine(&path, rank).unwrap(), map, "{name}");
        }
    }
    let error = write_affine(folder.path().join("a.h5"), &Affine::identity(), 3).unwrap_err();
    assert!(error.to_string().contains(".mat"), "{error}");
    assert!(write_affine(folder.path().join("a.mat"), &Affine::identity(), 4).is_err());
}

#[test]
fn files_that_cannot_be_used_say_why() {
    let folder = tempfile::tempdir().unwrap();
    let good = "1 0 0 0 1 0 0 0 1 0 0 0";
    let affine = "AffineTransform_double_3_3";
    let cases: Vec<(&str, Vec<u8>, &str)> = vec![
        ("a.h5", b"\x89HDF\r\n\x1a\n".to_vec(), "not supported"),
        (
            "a.txt",
            b"1 0 0 0\n0 1 0 0\n0 0 1 0\n0 0 0 1\n".to_vec(),
            "FSL",
        ),
        (
            "b.txt",
            text(affine, "1 0 0", "0 0 0").into(),
            "12 parameters, found 3",
        ),
        ("c.txt", text(affine, good, "0 0").into(), "centre"),
        (
            "d.txt",
            text(affine, "1 0 0 0 1 0 0 0 1 0 0 what", "0 0 0").into(),
            "line 4",
        ),
        (
            "e.txt",
            text(affine, "0 0 0 0 0 0 0 0 0 0 0 0", "0 0 0").into(),
            "singular",
        ),
        (
            "f.txt",
            text(affine, "1 0 0 0 1 0 0 0 1 0 0 NaN", "0 0 0").into(),
            "not finite",
        ),
        (
            "g.txt",
            text("BSplineTransform_double_3_3", good, "0 0 0").into(),
            "BSplineTransform",
        ),
        (
            "h.txt",
            format!(
                "{}{}",
                text(affine, good, "0 0 0"),
                text(affine, good, "0 0 0")
            )
            .into(),
            "2 transforms",
        ),
        (
            "i.txt",
            b"#Insight Transform File V1.0\n".to_vec(),
            "no `Transform:` line",
        ),
        ("a.mat", Vec::new(), "not a transform"),
        (
            "b.mat",
            matlab(affine, &[1.0; 12], false, false)[..60].to_vec(),
            "cut off",
        ),
        (
            "c.mat",
            matlab("fixed", &[0.0; 3], false, false),
            "more than one",
        ),
        ("d.mat", vec![0; 2 << 20], "too many"),
        (
            "e.mat",
            b"MATLAB 5.0 MAT-file, Platform".to_vec(),
            "not a transform",
        ),
    ];
    for (name, bytes, found) in cases {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        let error = read_affine(&path, 3).unwrap_err().to_string();
        assert!(
            error.contains(found) && error.contains(name),
            "{name}: {found:?} is not in {error:?}"
        );
    }
}
