//! The report page: sizes, determinism, odd input. The pages are left in the target folder to be looked at.

use std::path::Path;
use stillpoint::{Curve, Error, Grid, ReportPage};

/// A head of shells and blobs, a known warp of it, and what a registration would report.
struct Scene {
    grid: Grid,
    fixed: Vec<f32>,
    moving: Vec<f32>,
    warped: Vec<f32>,
    displacement: Vec<f32>,
    determinant: Vec<f32>,
    labels: Vec<i32>,
}

fn head(p: [f64; 3]) -> f64 {
    let ellipse = |c: [f64; 3], r: [f64; 3]| -> f64 {
        (0..3)
            .map(|a| ((p[a] - c[a]) / r[a]).powi(2))
            .sum::<f64>()
            .sqrt()
    };
    let inside = |q: f64, soft: f64| 1.0 / (1.0 + ((q - 1.0) / soft).exp());
    let fold = (14.0 * p[0] + 3.0 * (7.0 * p[1]).sin()).sin() * (13.0 * p[1] + 4.0 * p[2]).cos();
    let brain = inside(ellipse([0.0; 3], [0.68, 0.85, 0.66]), 0.02);
    let white = inside(ellipse([0.0; 3], [0.58, 0.74, 0.55]) + 0.09 * fold, 0.03);
    let ventricle = |side: f64| inside(ellipse([0.12 * side, 0.02, 0.1], [0.09, 0.3, 0.12]), 0.06);
    let nucleus = |side: f64| inside(ellipse([0.24 * side, 0.05, 0.02], [0.1, 0.18, 0.14]), 0.05);
    let mut value = 0.55 * brain + 0.4 * white;
    for side in [-1.0, 1.0] {
        value -= 0.2 * nucleus(side) * white;
        value -= 0.75 * ventricle(side) * white;
    }
    value.max(0.0)
}

fn label(value: f64) -> i32 {
    match value {
        v if v < 0.28 => 0,
        v if v < 0.68 => 3,
        v if v < 0.85 => 11,
        _ => 2,
    }
}

/// The scene on a grid whose voxels run over `-1..=1` along each world axis.
fn scene(grid: Grid) -> Scene {
    let rank = grid.rank();
    let size: Vec<usize> = grid.size().to_vec();
    let voxels = grid.voxels();
    let centre = grid.centre();
    let reach = grid.corners().iter().fold([1e-9f64; 3], |reach, corner| {
        std::array::from_fn(|w| reach[w].max((corner[w] - centre[w]).abs()))
    });
    let map = grid.index_to_world();
    let back = grid.world_to_index();
    let unit = |world: [f64; 3]| -> [f64; 3] {
        std::array::from_fn(|w| {
            if w < rank {
                (world[w] - centre[w]) / reach[w]
            } else {
                0.05
            }
        })
    };
    let bend = |p: [f64; 3]| -> [f64; 3] {
        let bump = (-3.0 * (p[0] * p[0] + p[1] * p[1])).exp();
        [
            0.07 * (3.0 * p[1]).sin() + 0.05 * bump * p[0],
            0.06 * (2.5 * p[0] + 1.0).cos() - 0.06,
            if rank == 3 {
                0.05 * (3.0 * p[1]).cos()
            } else {
                0.0
            },
        ]
    };
    let mut scene = Scene {
        fixed: Vec::with_capacity(voxels),
        moving: Vec::with_capacity(voxels),
        warped: Vec::with_capacity(voxels),
        displacement: vec![0.0; rank * voxels],
        determinant: vec![1.0; voxels],
        labels: Vec::with_capacity(voxels),
        grid,
    };
    for v in 0..voxels {
        let index = [v % size[0], v / size[0] % size[1], v / size[0] / size[1]];
        let p = unit(map.apply(index.map(|i| i as f64)));
        let u = bend(p);
        let value = head(p);
        scene.fixed.push(value as f32);
        scene.labels.push(label(value));
        let away: [f64; 3] = std::array::from_fn(|w| p[w] - u[w]);
        scene.moving.push(head(away) as f32);
        let near: [f64; 3] = std::array::from_fn(|w| p[w] + 0.08 * u[w]);
        scene.warped.push(head(near) as f32);
        let in_voxels = {
            let world: [f64; 3] = std::array::from_fn(|w| u[w] * reach[w]);
            back.apply_vector(world)
        };
        for a in 0..rank {
            scene.displacement[a * voxels + v] = in_voxels[a] as f32;
        }
    }
    let strides = [1, size[0], size[0] * size[1]];
    for v in 0..voxels {
        let index = [v % size[0], v / size[0] % size[1], v / size[0] / size[1]];
        let mut jacobian = [[0.0f64; 3]; 3];
        for a in 0..3 {
            jacobian[a][a] = 1.0;
            for b in 0..rank.min(3) {
                let n = size[b];
                let (low, high) = (index[b].saturating_sub(1), (index[b] + 1).min(n - 1));
                if a < rank && high > low {
                    let at = |i: usize| {
                        scene.displacement[a * voxels + v - index[b] * strides[b] + i * strides[b]]
                    };
                    jacobian[a][b] += f64::from(at(high) - at(low)) / (high - low) as f64;
                }
            }
        }
        let m = jacobian;
        let minor = |a: usize, b: usize| m[1][a] * m[2][b] - m[1][b] * m[2][a];
        scene.determinant[v] =
            (m[0][0] * minor(1, 2) - m[0][1] * minor(0, 2) + m[0][2] * minor(0, 1)) as f32;
    }
    scene
}

fn curves() -> Vec<Curve> {
    let curve = |name: &str, start: f64, floor: f64, count: i32| Curve {
        name: name.into(),
        energies: (0..count)
            .map(|i| floor + (start - floor) * 0.72f64.powi(i))
            .collect(),
    };
    vec![
        curve("affine 4", 0.091, 0.05, 9),
        curve("affine 2", 0.054, 0.047, 6),
        curve("compositive 4", 0.046, 0.019, 14),
        curve("compositive 2", 0.026, 0.0132, 12),
        curve("compositive 1", 0.017, 0.0101, 9),
    ]
}

fn stages() -> Vec<String> {
    vec!["affine".into(), "compositive".into()]
}

fn figures() -> Vec<(String, String)> {
    [
        ("Dice before", "0.520"),
        ("Dice after", "0.741"),
        ("Energy, share of the start", "0.114"),
        ("Folds, central differences", "0"),
        ("Non-diffeomorphic volume", "0.000 %"),
        ("SDlogJ", "0.31"),
        ("Inverse consistency, 95th percentile", "0.08 mm"),
        ("Status", "converged"),
        ("Seconds", "2.61"),
        ("Peak memory", "612 MB"),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .to_vec()
}

fn page<'a>(
    scene: &'a Scene,
    stages: &'a [String],
    figures: &'a [(String, String)],
    curves: &'a [Curve],
) -> ReportPage<'a> {
    ReportPage {
        title: "Registration report",
        fixed_name: "sub-0421_ses-baseline_acq-mprage_desc-skullstripped_T1w.nii.gz",
        moving_name: "sub-0007_T1w.nii.gz",
        stages,
        grid: &scene.grid,
        fixed: &scene.fixed,
        moving: &scene.moving,
        warped: &scene.warped,
        displacement: &scene.displacement,
        determinant: &scene.determinant,
        fixed_labels: Some(&scene.labels),
        figures,
        curves,
    }
}

fn keep(name: &str, bytes: &[u8]) {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(path, bytes).unwrap();
}

/// Array axes left, posterior, superior, as many scanners write them; slices thicker than wide.
fn volume_grid() -> Grid {
    let flip = [[-1.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 1.0]];
    Grid::new(&[80, 96, 60], &[2.0, 2.0, 3.0], [78.0, 110.0, -70.0], flip).unwrap()
}

#[test]
fn volumes_give_the_same_page_each_time() {
    let scene = scene(volume_grid());
    let (stages, figures, curves) = (stages(), figures(), curves());
    let page = page(&scene, &stages, &figures, &curves);
    let image = page.render().unwrap();
    assert_eq!(image.width(), 1680);
    assert!((900..1500).contains(&image.height()), "{}", image.height());
    let bytes = page.to_png().unwrap();
    assert_eq!(bytes, page.to_png().unwrap());
    assert_eq!(image::load_from_memory(&bytes).unwrap().into_rgb8(), image);
    keep("report_volume.png", &bytes);
}

#[test]
fn slices_give_a_page_of_their_own() {
    let scene = scene(Grid::axis_aligned(&[216, 260], &[1.0, 1.0]).unwrap());
    let (stages, figures, curves) = (stages(), figures(), curves());
    let page = page(&scene, &stages, &figures, &curves[2..]);
    let image = page.render().unwrap();
    assert_eq!(image.width(), 1680);
    let bytes = page.to_png().unwrap();
    assert_eq!(bytes, page.to_png().unwrap());
    assert_eq!(image::load_from_memory(&bytes).unwrap().into_rgb8(), image);
    keep("report_slice.png", &bytes);
}

fn count(page: &ReportPage<'_>, colour: [u8; 3]) -> usize {
    let image = page.render().unwrap();
    image.pixels().filter(|p| p.0 == colour).count()
}

#[test]
fn a_single_folded_voxel_is_seen() {
    const FOLD: [u8; 3] = [232, 0, 132];
    let mut scene = scene(Grid::axis_aligned(&[216, 260], &[1.0, 1.0]).unwrap());
    let (stages, figures, curves) = (stages(), figures(), curves());
    let clean = count(&page(&scene, &stages, &figures, &curves), FOLD);
    scene.determinant[130 * 216 + 108] = 0.0;
    let folded = count(&page(&scene, &stages, &figures, &curves), FOLD);
    assert!((9..=16).contains(&(folded - clean)), "{clean} {folded}");
}

#[test]
fn a_perfect_registration_leaves_no_difference() {
    let mut scene = scene(Grid::axis_aligned(&[64, 64], &[1.0, 1.0]).unwrap());
    scene.warped = scene.fixed.clone();
    scene.moving = scene.fixed.clone();
    let (stages, figures, curves) = (stages(), figures(), curves());
    let page = page(&scene, &stages, &figures, &curves);
    let neutral = [249, 248, 246];
    // Both difference panels, bar the few pixels of their rims, and the surroundings of the third light panel.
    let cell = 388 * 388;
    assert!(
        count(&page, neutral) > 2 * cell - 4000,
        "{}",
        count(&page, neutral)
    );
}

#[test]
fn odd_input_gives_a_page_too() {
    let long = "very-".repeat(80) + "long.nii.gz";
    let stages = vec![long.clone(); 3];
    let figures = vec![(long.clone(), long.clone()); 23];
    let curve = |energies: &[f64]| Curve {
        name: long.clone(),
        energies: energies.to_vec(),
    };
    let curves: Vec<Curve> = [
        &[][..],
        &[0.0],
        &[-3.0, 2.0],
        &[f64::NAN, 1.0],
        &[1e-12, f64::INFINITY],
    ]
    .map(curve)
    .into_iter()
    .cycle()
    .take(30)
    .collect();
    for size in [
        &[1, 1][..],
        &[2, 30],
        &[400, 3],
        &[30, 30, 30],
        &[1, 1, 1],
        &[5, 60, 2],
    ] {
        let spacing: Vec<f64> = (1..=size.len())
            .map(|a| 0.01 * (a * a * a) as f64)
            .collect();
        let grid = Grid::axis_aligned(size, &spacing).unwrap();
        let voxels = grid.voxels();
        let flat = vec![7.0; voxels];
        let labels = vec![1; voxels];
        let displacement = vec![1e6; voxels * size.len()];
        let page = ReportPage {
            title: &long,
            fixed_name: &long,
            moving_name: "",
            stages: &stages,
            grid: &grid,
            fixed: &flat,
            moving: &flat,
            warped: &flat,
            displacement: &displacement,
            determinant: &vec![-1.0; voxels],
            fixed_labels: Some(&labels),
            figures: &figures,
            curves: &curves,
        };
        let image = page.render().unwrap();
        assert_eq!(image.width(), 1680, "{size:?}");
        assert!(image.height() < 2500, "{size:?}: {}", image.height());
        let name = size
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("x");
        keep(&format!("report_odd_{name}.png"), &page.to_png().unwrap());
        let bare = ReportPage {
            stages: &[],
            figures: &[],
            curves: &[],
            fixed_labels: None,
            ..page
        };
        assert!(bare.render().unwrap().height() <= image.height());
    }
}

#[test]
fn arrays_that_do_not_fit_the_grid_are_refused() {
    let scene = scene(volume_grid());
    let (stages, figures, curves) = (stages(), figures(), curves());
    let page = page(&scene, &stages, &figures, &curves);
    let short = ReportPage {
        warped: &scene.warped[1..],
        ..page.clone()
    };
    let error = short.render().unwrap_err();
    assert!(
        matches!(error, Error::Shape { what: "warped", .. }),
        "{error}"
    );
    let planar = ReportPage {
        displacement: &scene.displacement[..2 * scene.grid.voxels()],
        ..page
    };
    assert!(planar.to_png().is_err());
}
