//! Distances between corresponding points.

use super::statistics::Summary;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

/// Target registration errors of corresponding points.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LandmarkErrors {
    /// One error a pair of points, mm, in the order given.
    pub errors: Vec<f64>,
    /// Mean, median, 95th percentile and so on of them, mm.
    pub summary: Summary,
}

/// Target registration error (TRE): `||phi(p_fixed) - p_moving||` in mm.
///
/// `mapped` are the fixed points carried through the transform, `moving` their counterparts, both world mm (a third
/// coordinate of 0 in 2D).
///
/// # Errors
/// [`Error::Shape`] when the numbers of points differ, [`Error::Data`] when there are none.
pub fn landmark_errors(mapped: &[[f64; 3]], moving: &[[f64; 3]]) -> Result<LandmarkErrors> {
    if mapped.len() != moving.len() {
        return Err(Error::Shape {
            what: "moving landmarks",
            expected: vec![mapped.len(), 3],
            got: vec![moving.len(), 3],
        });
    }
    let errors: Vec<f64> = mapped
        .iter()
        .zip(moving)
        .map(|(p, q)| (0..3).map(|a| (p[a] - q[a]).powi(2)).sum::<f64>().sqrt())
        .collect();
    let summary = Summary::of(&errors).ok_or_else(|| {
        Error::data(
            "landmarks",
            "expected at least one pair of points, found none",
        )
    })?;
    Ok(LandmarkErrors { errors, summary })
}

/// The distance of every point to the nearest of others, mm; of many points to many others it takes all pairs.
pub(crate) fn nearest_distances(points: &[[f64; 3]], others: &[[f64; 3]]) -> Vec<f64> {
    points
        .par_iter()
        .map(|p| {
            let squared = |q: &[f64; 3]| (0..3).map(|a| (p[a] - q[a]).powi(2)).sum::<f64>();
            others
                .iter()
                .map(squared)
                .fold(f64::INFINITY, f64::min)
                .sqrt()
        })
        .collect()
}

impl fmt::Display for LandmarkErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "landmark error, mm: {}", self.summary)
    }
}
