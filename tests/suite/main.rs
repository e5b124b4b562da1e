//! The tests of the library, one binary, one file per property.

mod evaluation;
mod geometry;
mod jacobian;
mod layering;
mod phantom;
mod picture;
mod statistics;
