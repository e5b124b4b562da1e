//! A brain-like anatomy as a function of space: which structure a point belongs to, and how bright it is.
//!
//! Points are mm RAS about the middle of the brain. Every structure is a distance that is negative inside, painted over
//! those before it with a soft edge.

use crate::Rng;

/// Names of the labels 1, 2, ...; pairs are left, then right.
pub(super) const LABELS: [&str; 22] = [
    "left cerebral cortex",
    "right cerebral cortex",
    "left cerebral white matter",
    "right cerebral white matter",
    "left lateral ventricle",
    "right lateral ventricle",
    "left thalamus",
    "right thalamus",
    "left caudate",
    "right caudate",
    "left putamen",
    "right putamen",
    "left pallidum",
    "right pallidum",
    "left hippocampus",
    "right hippocampus",
    "left amygdala",
    "right amygdala",
    "left cerebellum",
    "right cerebellum",
    "brainstem",
    "third ventricle",
];
const CORTEX: u32 = 1;
const WHITE: u32 = 3;
const VENTRICLE: u32 = 5;
const THALAMUS: u32 = 7;
const CAUDATE: u32 = 9;
const PUTAMEN: u32 = 11;
const PALLIDUM: u32 = 13;
const HIPPOCAMPUS: u32 = 15;
const AMYGDALA: u32 = 17;
const CEREBELLUM: u32 = 19;
const BRAINSTEM: u32 = 21;
const THIRD_VENTRICLE: u32 = 22;

/// Height of the slice that a two-dimensional phantom shows, mm.
pub(super) const SLICE: f64 = 7.0;

/// Brightness of the tissues in a T1-weighted image.
const FLUID: f64 = 0.14;
const GREY_MATTER: f64 = 0.52;
const WHITE_MATTER: f64 = 0.86;

/// Thickness of the cortex, mm.
const THICKNESS: f64 = 3.6;
/// Depth of a sulcus below the hull, mm.
const SULCUS: f64 = 17.0;

/// A plane wave `cos(k x + phase)`.
struct Wave {
    k: [f64; 3],
    phase: f64,
}

impl Wave {
    fn new(length: f64, rng: &mut Rng) -> Self {
        let direction: [f64; 3] = std::array::from_fn(|_| rng.normal());
        let norm = direction.iter().map(|v| v * v).sum::<f64>().sqrt();
        Self {
            k: direction.map(|v| v * std::f64::consts::TAU / (length * norm)),
            phase: rng.range(0.0, std::f64::consts::TAU),
        }
    }

    fn angle(&self, p: [f64; 3]) -> f64 {
        dot(self.k, p) + self.phase
    }
}

fn dot(a: [f64; 3], b: [f64; 3]) -> f64 {
    a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
}

/// A blob of grey matter or fluid.
enum Shape {
    /// Centre, half axes and slant (how far y moves the centre outwards).
    Ellipsoid([f64; 3], [f64; 3], f64),
    /// Points and the radius at each of them.
    Tube(Vec<([f64; 3], f64)>),
}

impl Shape {
    /// Distance to the surface, negative inside; for an ellipsoid to first order.
    fn distance(&self, p: [f64; 3]) -> f64 {
        match self {
            Self::Ellipsoid(centre, half, slant) => {
                let mut d: [f64; 3] = std::array::from_fn(|a| p[a] - centre[a]);
                d[0] -= slant * d[1];
                let level = dot(d, std::array::from_fn(|a| d[a] / (half[a] * half[a]))).sqrt();
                let slope: [f64; 3] = std::array::from_fn(|a| d[a] / (half[a] * half[a]));
                let steep = dot(slope, slope).sqrt();
                if steep == 0.0 {
                    -half[0].min(half[1]).min(half[2])
                } else {
                    level * (level - 1.0) / steep
                }
            }
            Self::Tube(points) => points
                .windows(2)
                .map(|pair| {
                    let ((a, ra), (b, rb)) = (pair[0], pair[1]);
                    let along: [f64; 3] = std::array::from_fn(|i| b[i] - a[i]);
                    let from: [f64; 3] = std::array::from_fn(|i| p[i] - a[i]);
                    let t = (dot(along, from) / dot(along, along)).clamp(0.0, 1.0);
                    let off: [f64; 3] = std::array::from_fn(|i| from[i] - t * along[i]);
                    dot(off, off).sqrt() - ra - t * (rb - ra)
                })
                .fold(f64::INFINITY, f64::min),
        }
    }

    /// A box outside of which `distance` exceeds `margin`.
    fn bounds(&self, margin: f64) -> [[f64; 2]; 3] {
        std::array::from_fn(|a| match self {
            Self::Ellipsoid(centre, half, slant) => {
                let extra = if a == 0 { slant.abs() * half[1] } else { 0.0 };
                let reach = half[a] + extra + margin;
                [centre[a] - reach, centre[a] + reach]
            }
            Self::Tube(points) => points
                .iter()
                .fold([f64::INFINITY, f64::NEG_INFINITY], |[low, high], (p, r)| {
                    [low.min(p[a] - r - margin), high.max(p[a] + r + margin)]
                }),
        })
    }
}

/// A structure painted over the brain.
struct Structure {
    label: u32,
    brightness: f64,
    shape: Shape,
    bounds: [[f64; 2]; 3],
}

/// One brain.
pub(super) struct Anatomy {
    hull: [Wave; 6],
    gyri: Vec<Wave>,
    folia: f64,
    structures: Vec<Structure>,
}

impl Anatomy {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let hull = std::array::from_fn(|_| Wave::new(110.0, rng));
        let gyri = (0..9)
            .map(|_| {
                let length = rng.range(20.0, 27.0);
                Wave::new(length, rng)
            })
            .collect();
        let folia = rng.range(0.0, 1.0);
        let mut structures = Vec::new();
        let mut add = |label: u32, brightness: f64, shape: Shape| {
            structures.push(Structure {
                label,
                brightness,
                bounds: shape.bounds(8.0),
                shape,
            });
        };
        let ventricles = rng.range(0.8, 1.25);
        for (side, right) in [(-1.0, 0), (1.0, 1)] {
            let mut jitter = |scale: f64| scale * rng.normal().clamp(-2.0, 2.0);
            // Position and size of a structure differ a little from subject to subject.
            let mut blob = |centre: [f64; 3], half: [f64; 3], slant: f64| {
                let centre: [f64; 3] = std::array::from_fn(|a| centre[a] + jitter(0.6));
                let half: [f64; 3] = std::array::from_fn(|a| half[a] * (1.0 + jitter(0.04)));
                Shape::Ellipsoid([side * centre[0], centre[1], centre[2]], half, side * slant)
            };
            let thalamus = blob([10.5, -17.0, 7.0], [7.5, 13.0, 9.0], -0.25);
            let caudate = blob([12.5, 16.0, 8.0], [5.0, 10.5, 9.5], -0.2);
            let putamen = blob([26.0, 3.0, 3.0], [5.0, 16.5, 11.0], -0.25);
            let pallidum = blob([19.5, -1.0, 3.5], [4.2, 10.0, 8.0], -0.35);
            let amygdala = blob([22.0, -3.0, -21.0], [7.0, 7.0, 7.0], 0.0);
            let cerebellum = blob([21.0, -52.0, -42.0], [27.0, 25.0, 19.0], 0.0);
            let mut tube = |points: &[([f64; 3], f64)], thick: f64| {
                Shape::Tube(
                    points
                        .iter()
                        .map(|(p, r)| {
                            let p: [f64; 3] = std::array::from_fn(|a| p[a] + jitter(0.5));
                            ([side * p[0], p[1], p[2]], r * thick)
                        })
                        .collect(),
                )
            };
            let body = tube(
                &[([13.0, 12.0, 17.0], 3.4), ([17.0, -14.0, 20.0], 2.8)],
                1.0,
            );
            let ventricle = tube(
                &[
                    ([5.5, 30.0, 6.0], 3.6),
                    ([6.0, 14.0, 13.0], 4.2),
                    ([9.0, -8.0, 21.0], 4.6),
                    ([20.0, -38.0, 14.0], 5.6),
                    ([27.0, -42.0, 3.0], 4.4),
                    ([33.0, -20.0, -12.0], 2.4),
                ],
                ventricles,
            );
            let horn = tube(
                &[([20.0, -38.0, 13.0], 5.0), ([17.0, -58.0, 9.0], 2.6)],
                ventricles,
            );
            let hippocampus = tube(
                &[
                    ([23.0, -11.0, -20.0], 5.4),
                    ([26.0, -23.0, -15.0], 5.0),
                    ([22.0, -36.0, -5.0], 3.6),
                ],
                1.0,
            );
            // Later ones are painted over earlier ones; the cerebellum has a rim of fluid.
            add(CEREBELLUM + right, GREY_MATTER, cerebellum);
            add(PUTAMEN + right, 0.60, putamen);
            add(PALLIDUM + right, 0.74, pallidum);
            add(CAUDATE + right, 0.56, caudate);
            add(CAUDATE + right, 0.56, body);
            add(THALAMUS + right, 0.68, thalamus);
            add(AMYGDALA + right, 0.53, amygdala);
            add(HIPPOCAMPUS + right, 0.55, hippocampus);
            add(VENTRICLE + right, FLUID, ventricle);
            add(VENTRICLE + right, FLUID, horn);
        }
        add(
            BRAINSTEM,
            0.80,
            Shape::Tube(vec![
                ([0.0, -20.0, -8.0], 11.0),
                ([0.0, -20.0, -32.0], 14.5),
                ([0.0, -27.0, -50.0], 10.0),
                ([0.0, -33.0, -66.0], 7.5),
            ]),
        );
        add(
            THIRD_VENTRICLE,
            FLUID,
            Shape::Tube(vec![([0.0, 0.0, 2.0], 1.8), ([0.0, -22.0, 5.0], 2.2)]),
        );
        Self {
            hull,
            gyri,
            folia,
            structures,
        }
    }

    /// Label and brightness at a point; edges are soft over `softness` mm to each side.
    pub(super) fn at(&self, p: [f64; 3], softness: f64) -> (u32, f64) {
        let cover = |distance: f64| (0.5 - 0.5 * distance / softness).clamp(0.0, 1.0);
        let right = u32::from(p[0] >= 0.0);
        let (mut label, mut brightness) = self.cerebrum(p, right, &cover);
        if p.iter()
            .zip([66.0, 80.0, 78.0])
            .any(|(x, reach)| x.abs() > reach)
        {
            return (label, brightness);
        }
        for structure in &self.structures {
            if (0..3).any(|a| p[a] < structure.bounds[a][0] || p[a] > structure.bounds[a][1]) {
                continue;
            }
            let distance = structure.shape.distance(p);
            let mut inside = structure.brightness;
            if structure.label == CEREBELLUM || structure.label == CEREBELLUM + 1 {
                // Fluid around it, thin folia in it, white matter in its core.
                let rim = cover(distance - 1.6);
                brightness += rim * (FLUID - brightness);
                if distance < 1.6 {
                    label = 0;
                }
                let leaf = (1.15 * p[2] - 0.55 * p[1] + 6.3 * self.folia).cos();
                inside += 0.10 * leaf;
                inside += cover(distance + 7.5 + 1.5 * leaf) * (WHITE_MATTER - inside);
            }
            let part = cover(distance);
            brightness += part * (inside - brightness);
            if distance < 0.0 {
                label = structure.label;
            }
        }
        (label, brightness)
    }

    /// Cortex, white matter and the fluid around them.
    fn cerebrum(&self, p: [f64; 3], right: u32, cover: &impl Fn(f64) -> f64) -> (u32, f64) {
        let half = [65.0, 82.0, if p[2] > 0.0 { 60.0 } else { 42.0 }];
        let radius = dot(p, p).sqrt().max(1e-9);
        let plain = p
            .iter()
            .zip(half)
            .map(|(x, h)| (x / h).powi(2))
            .sum::<f64>()
            .sqrt();
        if plain > 1.15 {
            return (0, 0.0);
        }
        let wobble = self.hull.each_ref().map(|wave| wave.angle(p).cos());
        let level = (plain * (1.0 + 0.012 * wobble.iter().sum::<f64>())).max(1e-9);
        // Depth below the hull along the ray from the middle.
        let depth = radius * (1.0 - level) / level;
        let head = cover(-depth - 1.0);
        if head == 0.0 {
            return (0, 0.0);
        }
        // The fissure between the hemispheres ends above the corpus callosum.
        let middle = ((p[1] + 4.0) / 50.0).hypot((p[2] - 4.0) / 26.0);
        let callosum = 26.0 * (1.0 - middle);
        let fissure = if callosum <= 0.0 {
            p[0].abs() - 0.9
        } else {
            p[0].hypot(callosum)
        };
        // The fissure above the temporal lobe, cut in from the side.
        let lateral = {
            let off = p[2] + 4.0 - 0.25 * p[1];
            let deep = 36.0 - p[0].abs();
            let ends = (p[1].abs() - 28.0).max(0.0);
            off.abs().hypot(deep.max(0.0)).hypot(ends) - 1.0
        };
        let mut pial = depth.min(fissure).min(lateral);
        if depth < SULCUS + THICKNESS {
            pial = pial.min(self.sulcus(p, level, depth, wobble));
        }
        let mut brightness = FLUID + cover(-pial) * (GREY_MATTER - FLUID);
        brightness += cover(THICKNESS - pial) * (WHITE_MATTER - brightness);
        let label = if depth < 0.0 || pial < 0.0 {
            0
        } else if pial < THICKNESS {
            CORTEX + right
        } else {
            WHITE + right
        };
        (label, head * brightness)
    }

    /// Distance to the nearest sulcus: sheets roughly along the rays, where a sum of waves on the hull is zero.
    fn sulcus(&self, p: [f64; 3], level: f64, depth: f64, wobble: [f64; 6]) -> f64 {
        // Slanted a little, differently from place to place, and bent as they go down.
        let on_hull: [f64; 3] = std::array::from_fn(|a| {
            p[a] / level + depth * (0.4 * wobble[a] + 0.018 * depth * wobble[a + 3])
        });
        let mut value = 0.0;
        let mut slope = [0.0; 3];
        for wave in &self.gyri {
            let (sine, cosine) = wave.angle(on_hull).sin_cos();
            value += cosine;
            for a in 0..3 {
                slope[a] -= sine * wave.k[a];
            }
        }
        let outward = dot(slope, p) / dot(p, p).max(1e-9);
        let tangent: [f64; 3] = std::array::from_fn(|a| slope[a] - outward * p[a]);
        let steep = dot(tangent, tangent).sqrt().max(0.06);
        let off = level * value.abs() / steep;
        let width = 0.2 + 0.9 * (1.0 - depth / SULCUS).max(0.0);
        if depth <= SULCUS {
            off - width
        } else {
            (off - width).max(0.0).hypot(depth - SULCUS)
        }
    }
}
