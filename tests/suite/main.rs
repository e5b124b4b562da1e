//! The tests of the library, one binary, one file per property.

mod evaluation;
mod geometry;
mod jacobian;
mod phantom;
mod statistics;
mod layering;
mod picture;
