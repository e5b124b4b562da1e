//! The tests of the library, one binary, one file per property.

mod affine_files;
mod alignment;
mod allocations;
mod conjugate_gradients;
mod damaged_files;
mod evaluation;
mod geometry;
mod image_writing;
mod jacobian;
mod layering;
mod meta_image;
mod nifti_bytes;
mod nifti_reading;
mod ops_blocks;
mod ops_fields;
mod ops_filters;
mod ops_ssd;
mod ops_warp;
mod other_programs;
mod phantom;
mod picture;
mod point_files;
mod real_files;
mod sampler;
mod samples;
mod statistics;
