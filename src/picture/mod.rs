//! Pictures: a small drawing kit and the page that shows a registration at a glance.

mod canvas;
mod cell;
mod chart;
mod colour;
mod coloured;
mod key;
mod layout;
mod page;
mod panel;
mod plot;
mod png;
mod scale;
mod slice;
mod table;
mod text;

pub use chart::{charts_to_png, Chart, Series};
pub use coloured::{coloured_to_png, ColouredMap};
pub use page::ReportPage;
pub use plot::Curve;
