//! The subjects of a training, and which of them make pairs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::subject::{stem, Subject, SubjectFiles};
use super::DataConfig;
use crate::{Error, Result, Rng};

/// Subjects in groups; the two of a pair are of one group.
///
/// Volumes form one group; of slices, those at one place do.
#[derive(Debug, Clone, Default)]
pub struct DataSet {
    groups: Vec<Vec<Subject>>,
    /// What a user should know of the files, in whole sentences.
    pub warnings: Vec<String>,
}

impl DataSet {
    /// Reads all subjects of a configuration for a network of so many axes and channels.
    ///
    /// # Errors
    /// [`Error::Data`] that lists every file which cannot be used, unless the configuration says to go on without; those of a
    /// folder or table that cannot be read; [`Error::Data`] when no two subjects are left to make a pair.
    pub fn read(data: &DataConfig, rank: usize, channels: usize) -> Result<Self> {
        let files = match (&data.table, &data.images) {
            (Some(table), _) => from_table(table)?,
            (None, Some(images)) => from_folder(images, data)?,
            (None, None) => return Err(Error::argument("data", "names no folder and no table")),
        };
        let files = chosen(files, data)?;
        let wanted = if data.slices.is_some() { 3 } else { rank };
        let read: Vec<Result<Subject>> = files
            .par_iter()
            .map(|files| {
                let subject = Subject::read(files, data, channels)?;
                let found = subject.image.grid.rank();
                if found == wanted {
                    return Ok(subject);
                }
                Err(Error::format(
                    &files.image,
                    format!("expected an image of {wanted} dimensions, found {found}"),
                ))
            })
            .collect();
        let mut set = Self::default();
        let (mut subjects, mut broken) = (Vec::new(), Vec::new());
        for read in read {
            match read {
                Ok(subject) => subjects.push(subject),
                Err(error) => broken.push(error.to_string()),
            }
        }
        if !broken.is_empty() {
            let list = format!(
                "{} of {} subjects cannot be used:\n  {}",
                broken.len(),
                files.len(),
                broken.join("\n  ")
            );
            if !data.skip_broken {
                return Err(Error::data(
                    "data",
                    format!(
                        "{list}\nmend or exclude them, or set skip_broken = true to go on without"
                    ),
                ));
            }
            set.warnings.push(list);
        }
        let without: Vec<&str> = subjects
            .iter()
            .filter(|s| s.labels.is_none())
            .map(|s| s.name.as_str())
            .collect();
        if data.labels.is_some() && !without.is_empty() {
            set.warnings.push(format!(
                "{} of {} subjects have no labels, so their pairs take part in the image losses only: {}",
                without.len(),
                subjects.len(),
                without.join(", ")
            ));
        }
        set.groups = match &data.slices {
            None => vec![subjects],
            Some(slices) => {
                let cut: Vec<Vec<(f64, Subject)>> = subjects
                    .par_iter()
                    .map(|subject| subject.slices(slices))
                    .collect::<Result<_>>()?;
                let mut groups: BTreeMap<i64, Vec<Subject>> = BTreeMap::new();
                for (place, slice) in cut.into_iter().flatten() {
                    groups
                        .entry((place * 1000.0).round() as i64)
                        .or_default()
                        .push(slice);
                }
                groups.into_values().collect()
            }
        };
        set.groups.retain(|group| group.len() > 1);
        if set.groups.is_empty() {
            return Err(Error::data(
                "data",
                "needs at least two subjects, to make a pair of them",
            ));
        }
        Ok(set)
    }

    /// Subjects made in memory.
    pub fn of(subjects: Vec<Subject>) -> Self {
        Self {
            groups: vec![subjects],
            warnings: Vec::new(),
        }
    }

    /// All subjects.
    pub fn subjects(&self) -> impl Iterator<Item = &Subject> {
        self.groups.iter().flatten()
    }

    /// A random subject of those with labels; none where there are none.
    pub fn labelled(&self, rng: &mut Rng) -> Option<&Subject> {
        let labelled: Vec<&Subject> = self.subjects().filter(|s| s.labels.is_some()).collect();
        (!labelled.is_empty()).then(|| labelled[rng.below(labelled.len())])
    }

    /// A random pair of two different subjects.
    pub fn pair(&self, rng: &mut Rng) -> [&Subject; 2] {
        let total: usize = self.groups.iter().map(Vec::len).sum();
        let mut place = rng.below(total);
        let mut group = &self.groups[0];
        for candidate in &self.groups {
            group = candidate;
            if place < candidate.len() {
                break;
            }
            place -= candidate.len();
        }
        let other = (place + 1 + rng.below(group.len() - 1)) % group.len();
        [&group[place], &group[other]]
    }

    /// Each subject as the fixed one with the next as the moving one, within its group.
    pub fn consecutive(&self) -> Vec<[&Subject; 2]> {
        self.groups
            .iter()
            .flat_map(|group| group.windows(2).map(|two| [&two[0], &two[1]]))
            .collect()
    }
}

/// Image files of a folder, in the order of their names, with the label files of the same names.
fn from_folder(images: &Path, data: &DataConfig) -> Result<Vec<SubjectFiles>> {
    let of = |folder: &Path, ending: Option<&str>| -> Result<BTreeMap<String, PathBuf>> {
        let entries =
            std::fs::read_dir(folder).map_err(|e| Error::io(folder, "read the folder", e))?;
        let mut found = BTreeMap::new();
        for entry in entries {
            let path = entry
                .map_err(|e| Error::io(folder, "read the folder", e))?
                .path();
            if let Some(name) = stem(&path, ending) {
                if let Some(other) = found.insert(name.clone(), path.clone()) {
                    return Err(Error::format(
                        path,
                        format!(
                            "is a second file of subject '{name}', beside {}",
                            other.display()
                        ),
                    ));
                }
            }
        }
        Ok(found)
    };
    let image_files = of(images, data.image_ending.as_deref())?;
    if image_files.is_empty() {
        return Err(Error::format(
            images,
            "has no images: expected names that end with .nii.gz, .nii, .mha or .mhd, or with image_ending",
        ));
    }
    let mut label_files = match &data.labels {
        Some(labels) => of(
            labels,
            data.label_ending
                .as_deref()
                .or(data.image_ending.as_deref()),
        )?,
        None => BTreeMap::new(),
    };
    Ok(image_files
        .into_iter()
        .map(|(name, image)| SubjectFiles {
            labels: label_files.remove(&name),
            name,
            image,
            landmarks: None,
        })
        .collect())
}

/// The rows of a table.
fn from_table(table: &Path) -> Result<Vec<SubjectFiles>> {
    let broken = |e: csv::Error| Error::format(table, e.to_string());
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(table)
        .map_err(broken)?;
    let headers = reader.headers().map_err(broken)?.clone();
    if let Some(column) = headers
        .iter()
        .find(|name| !["name", "image", "labels", "landmarks"].contains(name))
    {
        return Err(Error::format(
            table,
            format!("column '{column}' is not known: there are name, image, labels and landmarks"),
        ));
    }
    let place = |name: &str| headers.iter().position(|header| header == name);
    let image = place("image")
        .ok_or_else(|| Error::format(table, "has no column 'image' in its first line"))?;
    let folder = table.parent().unwrap_or(Path::new(""));
    let mut files = Vec::new();
    for row in reader.records() {
        let row = row.map_err(broken)?;
        let file = |at: Option<usize>| {
            at.and_then(|at| row.get(at))
                .filter(|text| !text.is_empty())
                .map(|text| folder.join(text))
        };
        let Some(image) = file(Some(image)) else {
            let line = row.position().map_or(0, csv::Position::line);
            return Err(Error::format(table, format!("line {line} names no image")));
        };
        let name = place("name").and_then(|at| row.get(at)).map(str::to_owned);
        files.push(SubjectFiles {
            name: name
                .or_else(|| stem(&image, None))
                .unwrap_or_else(|| image.display().to_string()),
            image,
            labels: file(place("labels")),
            landmarks: file(place("landmarks")),
        });
    }
    Ok(files)
}

/// The subjects that are included and not excluded.
fn chosen(files: Vec<SubjectFiles>, data: &DataConfig) -> Result<Vec<SubjectFiles>> {
    for (entry, names) in [("include", &data.include), ("exclude", &data.exclude)] {
        let missing = names
            .iter()
            .find(|name| !files.iter().any(|file| file.name.ends_with(name.as_str())));
        if let Some(name) = missing {
            return Err(Error::data(
                format!("data.{entry}"),
                format!(
                    "there is no subject '{name}' among the {} found",
                    files.len()
                ),
            ));
        }
    }
    let listed = |names: &[String], file: &SubjectFiles| {
        names.iter().any(|name| file.name.ends_with(name.as_str()))
    };
    let left: Vec<SubjectFiles> = files
        .into_iter()
        .filter(|file| data.include.is_empty() || listed(&data.include, file))
        .filter(|file| !listed(&data.exclude, file))
        .collect();
    if left.len() < 2 {
        return Err(Error::data(
            "data",
            format!("expected at least two subjects, found {}", left.len()),
        ));
    }
    Ok(left)
}
