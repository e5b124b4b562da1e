//! Interpolation, as named on the command line.

/// How values between voxels are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Interpolation {
    /// Between the nearest voxels, for intensities
    Linear,
    /// The nearest voxel's value, for masks and categories
    Nearest,
    /// The label with the largest share among the neighbours: smooth outlines, no new values
    Label,
    /// Cubic B-spline, for intensities that are to stay crisp
    Cubic,
}
