//! Pictures: a small drawing kit and the page that shows a registration at a glance.

mod canvas;
mod cell;
mod colour;
mod key;
mod layout;
mod page;
mod panel;
mod plot;
mod slice;
mod table;
mod text;

pub use page::ReportPage;
pub use plot::Curve;
