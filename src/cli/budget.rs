//! Estimates of memory beside what is allowed.

use super::Bytes;
use crate::registration::{Footprint, FootprintStage};
use crate::Error;

/// What the program takes for itself with what its allocator keeps, and each of its threads: the most that was measured.
const PROGRAM: u64 = 60_000_000;
const THREAD: u64 = 5_000_000;

/// What a run may take beyond its estimate.
const MARGIN: f64 = 1.1;

/// Bytes of the program itself.
pub(super) fn program() -> u64 {
    PROGRAM + THREAD * rayon::current_num_threads() as u64
}

/// The line that is printed before the work begins.
pub(super) fn announced(peak: &FootprintStage) -> String {
    let estimate = Bytes(peak.bytes());
    format!("Memory  about {estimate} at most, for {}\n", peak.name)
}

/// What must be allowed for a run: its estimate, and a tenth more for safety.
pub(super) fn allowed(footprint: &Footprint) -> Bytes {
    let peak = footprint.peak().map_or(0, FootprintStage::bytes);
    Bytes((MARGIN * peak as f64).ceil() as u64)
}

/// The error of a run for which less is allowed than it may take; there is always the remedy to allow more.
pub(super) fn too_little(limit: Bytes, footprint: &Footprint, remedies: &[&str]) -> Error {
    let (name, estimate) = footprint
        .peak()
        .map_or(("it", 0), |peak| (peak.name.as_str(), peak.bytes()));
    Error::argument(
        "--max-memory",
        format!(
            "{limit} are too little: {name} takes about {estimate}, and {needed} must be allowed for it; {remedies}, or allow more",
            estimate = Bytes(estimate),
            needed = allowed(footprint),
            remedies = remedies.join(", "),
        ),
    )
}
