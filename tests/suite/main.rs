//! The tests of the library, one binary, one file per property.

mod geometry;
mod layering;
mod picture;
