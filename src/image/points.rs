//! Landmarks: ANTs' CSV and VTK's legacy text.

use std::path::Path;

use super::output::write_whole;
use crate::{Error, Grid, Result};

/// In which space the numbers of a point file are.
#[derive(Debug, Clone, Copy)]
pub enum PointSpace<'a> {
    /// Millimetres, x to the left, y to the back: what ITK and ANTs write.
    Lps,
    /// Millimetres, x to the right, y to the front: the library's own.
    Ras,
    /// Index times spacing on this grid, without its origin and direction.
    Scaled(&'a Grid),
}

/// Points in the world, with what else stood in their file's lines.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Points {
    /// Positions in RAS mm; z is 0 in 2D.
    pub positions: Vec<[f64; 3]>,
    /// Names of the other columns, such as `label`.
    pub columns: Vec<String>,
    /// The other columns' text, one row a point.
    pub extra: Vec<Vec<String>>,
}

impl Points {
    /// Points alone.
    pub fn new(positions: Vec<[f64; 3]>) -> Self {
        Self {
            extra: vec![Vec::new(); positions.len()],
            positions,
            columns: Vec::new(),
        }
    }

    /// Reads CSV (a header line with x, y and mostly z; other columns are kept) or legacy VTK text with POINTS, told apart
    /// by what they contain.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Format`] names the line that is wrong.
    pub fn read(path: impl AsRef<Path>, space: PointSpace<'_>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        let text = std::str::from_utf8(&bytes).map_err(|_| {
            Error::format(
                path,
                "is not text; points are read from CSV and from VTK legacy ASCII files",
            )
        })?;
        let mut points = if text.starts_with("# vtk DataFile") {
            from_vtk(text)
        } else {
            from_csv(text)
        }
        .map_err(|reason| Error::format(path, reason))?;
        for point in &mut points.positions {
            *point = to_world(*point, space);
        }
        Ok(points)
    }

    /// Writes CSV as ANTs reads it: columns x, y, z (LPS mm) and t, then the others.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] when there are other columns, but not for every point; [`Error::Io`] when it cannot
    /// be written.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<()> {
        if self.extra.len() != self.positions.len()
            || self.extra.iter().any(|row| row.len() != self.columns.len())
        {
            return Err(Error::argument(
                "points",
                format!(
                    "every one of the {} points needs {} extra columns",
                    self.positions.len(),
                    self.columns.len()
                ),
            ));
        }
        // ANTs wants t as the fourth column.
        let t = self.columns.iter().position(|c| c == "t");
        let others = |row: &[String]| -> String {
            row.iter()
                .enumerate()
                .filter(|(i, _)| Some(*i) != t)
                .map(|(_, field)| format!(",{}", quoted(field)))
                .collect()
        };
        let mut text = format!("x,y,z,t{}\n", others(&self.columns));
        for (point, row) in self.positions.iter().zip(&self.extra) {
            let [x, y, z] = *point;
            let time = t.map_or("0", |t| row[t].as_str());
            text.push_str(&format!(
                "{},{},{z},{}{}\n",
                -x + 0.0,
                -y + 0.0,
                quoted(time),
                others(row)
            ));
        }
        write_whole(path.as_ref(), |out| out.write_all(text.as_bytes()))
    }
}

fn to_world(point: [f64; 3], space: PointSpace<'_>) -> [f64; 3] {
    match space {
        PointSpace::Ras => point,
        PointSpace::Lps => [-point[0], -point[1], point[2]],
        PointSpace::Scaled(grid) => grid.index_to_world().apply(std::array::from_fn(|a| {
            grid.spacing().get(a).map_or(0.0, |s| point[a] / s)
        })),
    }
}

fn number(text: &str, line: usize) -> Result<f64, String> {
    match text.trim().trim_matches('"').parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value),
        _ => Err(format!(
            "line {line}: expected a finite number, found {text:?}"
        )),
    }
}

fn from_csv(text: &str) -> Result<Points, String> {
    let text = text.trim_start_matches('\u{feff}');
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(n, l)| (n + 1, l.trim_end_matches('\r')))
        .filter(|(_, l)| !l.trim().is_empty());
    let header = lines.next().map_or_else(Vec::new, |(_, l)| fields(l));
    let find = |name: &str| {
        header
            .iter()
            .position(|h| h.trim().eq_ignore_ascii_case(name))
    };
    let (Some(x), Some(y)) = (find("x"), find("y")) else {
        return Err(format!(
            "expected a first line with the columns x, y and z (as ANTs writes), found {:?}",
            header.iter().take(8).collect::<Vec<_>>()
        ));
    };
    let z = find("z");
    let kept: Vec<usize> = (0..header.len())
        .filter(|c| ![Some(x), Some(y), z].contains(&Some(*c)))
        .collect();
    let mut points = Points {
        columns: kept.iter().map(|c| header[*c].trim().to_owned()).collect(),
        ..Points::default()
    };
    for (line, text) in lines {
        let row = fields(text);
        if row.len() != header.len() {
            return Err(format!(
                "line {line}: expected {} columns, found {}",
                header.len(),
                row.len()
            ));
        }
        points.positions.push([
            number(&row[x], line)?,
            number(&row[y], line)?,
            z.map_or(Ok(0.0), |z| number(&row[z], line))?,
        ]);
        points
            .extra
            .push(kept.iter().map(|c| row[*c].clone()).collect());
    }
    if points.positions.is_empty() {
        return Err("holds no points".into());
    }
    Ok(points)
}

/// The fields of a CSV line; in quotes a comma is a comma, and two quotes are one.
fn fields(line: &str) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut quotes = false;
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        let last = all.len() - 1;
        match letter {
            '"' if quotes && letters.peek() == Some(&'"') => {
                letters.next();
                all[last].push('"');
            }
            '"' => quotes = !quotes,
            ',' if !quotes => all.push(String::new()),
            other => all[last].push(other),
        }
    }
    all
}

fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}

fn from_vtk(text: &str) -> Result<Points, String> {
    let mut lines = text.lines().enumerate();
    // Version, title, then the coding.
    let coding = lines.by_ref().nth(2).map_or("", |(_, l)| l.trim());
    if !coding.eq_ignore_ascii_case("ASCII") {
        return Err(format!(
            "VTK files are read as text (ASCII), found {coding:?}; save it as ASCII"
        ));
    }
    let count = lines
        .by_ref()
        .map(|(n, l)| (n + 1, l.split_whitespace().collect::<Vec<_>>()))
        .find(|(_, words)| {
            words
                .first()
                .is_some_and(|w| w.eq_ignore_ascii_case("POINTS"))
        })
        .ok_or("VTK file without POINTS")
        .and_then(|(_, words)| {
            words
                .get(1)
                .and_then(|n| n.parse::<usize>().ok())
                .ok_or("VTK file: expected a number behind POINTS")
        })?;
    if count == 0 {
        return Err("holds no points".into());
    }
    let mut numbers = Vec::new();
    let wanted = count.saturating_mul(3);
    for (line, text) in lines {
        for word in text.split_whitespace() {
            if numbers.len() == wanted {
                break;
            }
            numbers.push(number(word, line + 1)?);
        }
    }
    if numbers.len() != wanted {
        return Err(format!(
            "VTK file: POINTS promises {count} points, found {} numbers; the file was cut off",
            numbers.len()
        ));
    }
    Ok(Points::new(
        numbers
            .chunks_exact(3)
            .map(|p| [p[0], p[1], p[2]])
            .collect(),
    ))
}
