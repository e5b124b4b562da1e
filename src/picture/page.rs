//! The page that shows a registration at a glance.

use super::canvas::{Area, Canvas};
use super::colour::{HAIRLINE, INK, PAPER, QUIET};
use super::layout::{Layout, INNER, MARGIN, SLICE_BLOCKS, VOLUME_BLOCK, WIDTH};
use super::panel::{Panels, Scene};
use super::plot::{self, Curve};
use super::png::png;
use super::slice::{Display, View};
use super::text::{Align, Fonts, Style, NOTE};
use super::{cell, key, table};
use crate::{Error, Grid, Result};
use image::RgbImage;

/// The registration report: three orthogonal slices (one in 2D) of the images before and after, their differences,
/// the deformed grid and the volume change; below, convergence and figures.
///
/// All arrays lie on `grid`, first index fastest. Slices cut through the centre of mass of the fixed image and are
/// shown with right, anterior and superior pointing right and up.
#[derive(Debug, Clone)]
pub struct ReportPage<'a> {
    /// The heading.
    pub title: &'a str,
    /// Name of the fixed image's file; shortened in the middle where it is too long.
    pub fixed_name: &'a str,
    /// Name of the moving image's file; shortened likewise.
    pub moving_name: &'a str,
    /// The stages in the order in which they ran.
    pub stages: &'a [String],
    /// The grid of the fixed image.
    pub grid: &'a Grid,
    /// Intensities of the fixed image.
    pub fixed: &'a [f32],
    /// The moving image on the fixed grid, at the initial alignment.
    pub moving: &'a [f32],
    /// The moving image on the fixed grid, registered.
    pub warped: &'a [f32],
    /// Total displacement in voxels of `grid`, planar: `rank * voxels` values.
    pub displacement: &'a [f32],
    /// Jacobian determinant of `x + u(x)` at each voxel.
    pub determinant: &'a [f32],
    /// Labels of the fixed image; their outlines are drawn over moving and warped.
    pub fixed_labels: Option<&'a [i32]>,
    /// Names and values for the table, in order.
    pub figures: &'a [(String, String)],
    /// Energies of the levels, in order.
    pub curves: &'a [Curve],
}

const HEADING: Style = Style::semibold(15.0, INK);
const SECTION: Style = Style::semibold(18.0, INK);

impl ReportPage<'_> {
    /// Draws the page.
    ///
    /// # Errors
    /// [`Error::Shape`] when an array does not have as many values as the grid has voxels.
    pub fn render(&self) -> Result<RgbImage> {
        self.check()?;
        let scene = Scene::new(self);
        let fonts = Fonts::new();
        let blocks = if self.grid.rank() == 3 {
            VOLUME_BLOCK
        } else {
            SLICE_BLOCKS
        };
        let layout = Layout::new(&scene, blocks[0].len() as i32);
        let panels: Vec<Panels<'_>> = scene
            .slices
            .iter()
            .map(|slices| Panels::new(&scene, slices, layout.pixels(&scene, slices.view)))
            .collect();
        let top = 138;
        let caption = if self.grid.rank() == 3 { 24 } else { 0 };
        let rows: i32 = layout.heights.iter().map(|h| h + caption + 6).sum();
        let block_height = 20 + rows + 66;
        let below = top + block_height * blocks.len() as i32;
        let bottom_height = self.bottom_height();
        let height = below + bottom_height + 62;
        let mut canvas = Canvas::new(WIDTH as u32, height as u32, PAPER);
        self.header(&mut canvas, &fonts);
        let mut y = top;
        for kinds in blocks {
            for (column, kind) in kinds.iter().enumerate() {
                let x = layout.column(column) as f32;
                fonts.draw(
                    &mut canvas,
                    kind.heading(),
                    x,
                    y as f32,
                    Align::Left,
                    HEADING,
                );
            }
            let mut row = y + 14;
            for (index, height) in layout.heights.iter().enumerate() {
                let view = scene.slices[index].view;
                if caption > 0 {
                    let (x, base) = (MARGIN as f32, (row + 14) as f32);
                    let words = self.caption(&scene.display, view);
                    fonts.draw(&mut canvas, &words, x, base, Align::Left, NOTE);
                    row += caption;
                }
                for (column, kind) in kinds.iter().enumerate() {
                    let frame = Area::new(layout.column(column), row, layout.cell, *height);
                    cell::draw(&mut canvas, &fonts, &layout, &panels[index], *kind, frame);
                }
                row += height + 6;
            }
            key::draw(&mut canvas, &fonts, &scene, &layout, kinds, row + 6);
            y += block_height;
        }
        let bottom = Area::new(MARGIN, below, INNER, bottom_height);
        self.bottom(&mut canvas, &fonts, bottom);
        self.footer(&mut canvas, &fonts, height - 26);
        Ok(canvas.into_image())
    }

    /// The page as the bytes of a PNG file; the same input gives the same bytes.
    ///
    /// # Errors
    /// As [`render`](Self::render).
    pub fn to_png(&self) -> Result<Vec<u8>> {
        png(&self.render()?, "report page")
    }

    fn check(&self) -> Result<()> {
        let voxels = self.grid.voxels();
        let labels = self.fixed_labels.map_or(voxels, <[i32]>::len);
        for (what, expected, got) in [
            ("fixed", voxels, self.fixed.len()),
            ("moving", voxels, self.moving.len()),
            ("warped", voxels, self.warped.len()),
            ("determinant", voxels, self.determinant.len()),
            ("fixed labels", voxels, labels),
            (
                "displacement",
                voxels * self.grid.rank(),
                self.displacement.len(),
            ),
        ] {
            if expected != got {
                return Err(Error::Shape {
                    what,
                    expected: vec![expected],
                    got: vec![got],
                });
            }
        }
        Ok(())
    }

    fn header(&self, canvas: &mut Canvas, fonts: &Fonts) {
        let title = Style::semibold(30.0, INK);
        let words = fonts.shorten(self.title, (INNER - 200) as f32, title);
        let (left, right) = (MARGIN as f32, (WIDTH - MARGIN) as f32);
        fonts.draw(canvas, &words, left - 1.0, 62.0, Align::Left, title);
        let version = concat!("stillpoint ", env!("CARGO_PKG_VERSION"));
        fonts.draw(canvas, version, right, 62.0, Align::Right, NOTE);
        let mut x = left;
        let stages = self.stages.join(" › ");
        for (name, value) in [
            ("fixed", self.fixed_name),
            ("moving", self.moving_name),
            ("stages", &stages),
        ] {
            let value = fonts.shorten(value, 440.0, Style::regular(15.0, INK));
            let quiet = Style::regular(15.0, QUIET);
            x += fonts.draw(canvas, name, x, 92.0, Align::Left, quiet) + 8.0;
            let ink = Style::regular(15.0, INK);
            x += fonts.draw(canvas, &value, x, 92.0, Align::Left, ink) + 32.0;
        }
        canvas.fill(Area::new(MARGIN, 110, INNER, 1), HAIRLINE);
    }

    /// Such as `Axial, S 12.5 mm`.
    fn caption(&self, display: &Display, view: View) -> String {
        let index = display.cut_index().map(|i| i as f64);
        let at = self.grid.index_to_world().apply(index)[view.normal];
        let letter = [["L", "R"], ["P", "A"], ["I", "S"]][view.normal][usize::from(at >= 0.0)];
        format!("{}, {letter} {:.1} mm", view.name, at.abs())
    }

    /// Columns of the table of figures.
    fn figure_columns(&self) -> i32 {
        if self.curves.is_empty() || self.figures.len() > 10 {
            2
        } else {
            1
        }
    }

    fn bottom_height(&self) -> i32 {
        let rows = (self.figures.len() as i32 + self.figure_columns() - 1) / self.figure_columns();
        let table = 44 + rows * table::ROW;
        let plot = if self.curves.is_empty() { 0 } else { 330 };
        table.max(plot)
    }

    fn bottom(&self, canvas: &mut Canvas, fonts: &Fonts, area: Area) {
        canvas.fill(Area::new(area.x, area.y, area.width, 1), HAIRLINE);
        let columns = self.figure_columns();
        let table = match (self.figures.is_empty(), self.curves.is_empty()) {
            (true, _) => 0,
            (false, true) => area.width,
            (false, false) => 64 + columns * 360,
        };
        let base = (area.y + 34) as f32;
        if !self.curves.is_empty() {
            let x = area.x as f32;
            let along = fonts.draw(canvas, "Convergence", x, base, Align::Left, SECTION);
            fonts.draw(
                canvas,
                "energy at each iteration",
                x + along + 14.0,
                base,
                Align::Left,
                NOTE,
            );
            let gutter = if table > 0 { 56 } else { 0 };
            let frame = Area::new(
                area.x,
                area.y + 52,
                area.width - table - gutter,
                area.height - 56,
            );
            plot::draw(canvas, fonts, frame, self.curves);
        }
        if table > 0 {
            let left = area.right() - table;
            fonts.draw(canvas, "Figures", left as f32, base, Align::Left, SECTION);
            let frame = Area::new(left, area.y + 50, table, area.height - 50);
            table::draw(canvas, fonts, frame, columns, self.figures);
        }
    }

    fn footer(&self, canvas: &mut Canvas, fonts: &Fonts, y: i32) {
        canvas.fill(Area::new(MARGIN, y - 26, INNER, 1), HAIRLINE);
        let planes = if self.grid.rank() == 3 {
            " Slices cut through the centre of mass of the fixed image, nearest array axes."
        } else {
            ""
        };
        let words = format!(
            "Neurological display: the subject's left is on the left.{planes} Empty margins are cropped. Fixed: {}.",
            self.grid.describe()
        );
        let words = fonts.shorten(&words, INNER as f32, NOTE);
        fonts.draw(canvas, &words, MARGIN as f32, y as f32, Align::Left, NOTE);
    }
}
