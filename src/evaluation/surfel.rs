//! Sizes of surface elements: the piece of boundary that passes between the voxels around a corner.
//!
//! A corner is the point between 8 voxels (4 in 2D). Its code has bit `dx + 2 dy + 4 dz` set where the voxel on that
//! side belongs to the structure. The boundary inside the box spanned by the voxel centres runs through the middles of
//! those edges whose ends differ: marching cubes with all values one half. Three conventions make it unique. Diagonal
//! neighbours on a face are not connected; with more than four voxels inside, the complement is meant; a polygon
//! that is not flat is cut into the fan of triangles with the largest area.

/// Areas (mm^2) of the surface elements for the 256 codes.
pub(super) fn areas(spacing: [f64; 3]) -> Vec<f64> {
    (0..256usize)
        .map(|code| {
            let few = if code.count_ones() > 4 {
                255 - code
            } else {
                code
            };
            polygons(few)
                .iter()
                .map(|polygon| largest_fan(polygon, spacing))
                .sum()
        })
        .collect()
}

/// Lengths (mm) of the contour elements for the 16 codes in 2D.
pub(super) fn lengths(spacing: [f64; 2]) -> Vec<f64> {
    let diagonal = 0.5 * spacing[0].hypot(spacing[1]);
    (0..16usize)
        .map(|code| match code {
            0 | 15 => 0.0,
            0b0011 | 0b1100 => spacing[0],
            0b0101 | 0b1010 => spacing[1],
            0b0110 | 0b1001 => 2.0 * diagonal,
            _ => diagonal,
        })
        .collect()
}

/// The middle of an edge of the unit cube, by the codes of its ends.
type Edge = (usize, usize);

/// Closed polygons, each a list of edges whose middles are the corners in order.
fn polygons(code: usize) -> Vec<Vec<Edge>> {
    let inside = |corner: usize| code >> corner & 1 == 1;
    let edge = |a: usize, b: usize| (a.min(b), a.max(b));
    // Every crossed edge lies on two faces, so it has two neighbours.
    let mut links: Vec<(Edge, Edge)> = Vec::new();
    for axis in 0..3 {
        let (u, v) = (1 << ((axis + 1) % 3), 1 << ((axis + 2) % 3));
        for base in [0, 1 << axis] {
            let ring = [base, base + u, base + u + v, base + v];
            let sides: Vec<Edge> = (0..4)
                .map(|s| (ring[s], ring[(s + 1) % 4]))
                .filter(|&(a, b)| inside(a) != inside(b))
                .map(|(a, b)| edge(a, b))
                .collect();
            match sides[..] {
                [a, b] => links.push((a, b)),
                [_, _, _, _] => {
                    for s in (0..4).filter(|&s| inside(ring[s])) {
                        links.push((
                            edge(ring[(s + 3) % 4], ring[s]),
                            edge(ring[s], ring[(s + 1) % 4]),
                        ));
                    }
                }
                _ => {}
            }
        }
    }
    let mut polygons = Vec::new();
    while let Some((start, mut end)) = links.pop() {
        let mut polygon = vec![start];
        while end != start {
            polygon.push(end);
            let Some(next) = links.iter().position(|&(a, b)| a == end || b == end) else {
                break;
            };
            let (a, b) = links.swap_remove(next);
            end = if a == end { b } else { a };
        }
        polygons.push(polygon);
    }
    polygons
}

fn largest_fan(polygon: &[Edge], spacing: [f64; 3]) -> f64 {
    let points: Vec<[f64; 3]> = polygon
        .iter()
        .map(|&(a, b)| {
            std::array::from_fn(|axis| {
                0.5 * spacing[axis] * ((a >> axis & 1) + (b >> axis & 1)) as f64
            })
        })
        .collect();
    let n = points.len();
    let triangle = |a: [f64; 3], b: [f64; 3], c: [f64; 3]| {
        let p: [f64; 3] = std::array::from_fn(|i| b[i] - a[i]);
        let q: [f64; 3] = std::array::from_fn(|i| c[i] - a[i]);
        let normal: [f64; 3] = std::array::from_fn(|i| {
            p[(i + 1) % 3] * q[(i + 2) % 3] - p[(i + 2) % 3] * q[(i + 1) % 3]
        });
        0.5 * normal.iter().map(|v| v * v).sum::<f64>().sqrt()
    };
    (0..n)
        .map(|start| {
            let point = |i: usize| points[(start + i) % n];
            (1..n - 1)
                .map(|i| triangle(point(0), point(i), point(i + 1)))
                .sum()
        })
        .fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes known from geometry: a cut corner, a flat face, a slanted one.
    #[test]
    fn simple_elements_have_their_area() {
        let unit = areas([1.0; 3]);
        let corner = 3f64.sqrt() / 8.0;
        for bit in 0..8 {
            assert!((unit[1 << bit] - corner).abs() < 1e-12);
            assert!((unit[255 - (1 << bit)] - corner).abs() < 1e-12);
        }
        assert!((unit[0b0000_1111] - 1.0).abs() < 1e-12);
        assert!((unit[0b0000_0011] - 0.5f64.sqrt()).abs() < 1e-12);
        assert!((unit[0b1000_0001] - 2.0 * corner).abs() < 1e-12);
        assert!((unit[0b0110_1001] - 4.0 * corner).abs() < 1e-12);
        assert_eq!((unit[0], unit[255]), (0.0, 0.0));
        let flat = areas([1.0, 2.0, 3.0]);
        assert!((flat[0b0000_1111] - 2.0).abs() < 1e-12);
        assert!((flat[0b0101_0101] - 6.0).abs() < 1e-12);
        assert!((flat[0b0011_0011] - 3.0).abs() < 1e-12);
    }

    /// The area of a structure does not depend on how the axes are named.
    #[test]
    fn areas_are_symmetric() {
        let unit = areas([1.0; 3]);
        for code in 0..256usize {
            let swap = |f: fn(usize) -> usize| {
                (0..8)
                    .filter(|&c| code >> c & 1 == 1)
                    .map(|c| 1 << f(c))
                    .sum::<usize>()
            };
            for other in [
                swap(|c| c ^ 1),
                swap(|c| c ^ 4),
                swap(|c| (c << 1 | c >> 2) & 7),
                255 - code,
            ] {
                if code.count_ones() != 4 || other != 255 - code {
                    assert!((unit[code] - unit[other]).abs() < 1e-12, "{code} {other}");
                }
            }
        }
    }
}
