//! Which labels there are, and where.

use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::BTreeSet;

const CHUNK: usize = 1 << 16;

/// The labels of a volume other than 0, in ascending order.
pub(super) fn present(volume: &[u32]) -> BTreeSet<u32> {
    volume
        .par_chunks(CHUNK)
        .map(|chunk| {
            let mut found = BTreeSet::new();
            let mut last = 0;
            for &label in chunk {
                if label != last {
                    last = label;
                    found.insert(label);
                }
            }
            found.remove(&0);
            found
        })
        .reduce(BTreeSet::new, |mut a, b| {
            a.extend(b);
            a
        })
}

/// The labels to judge, each with whether it has a value: present in the fixed and in the moving labels.
///
/// Without a choice, all that occur in the fixed or the moving labels; without moving labels the warped ones stand in.
pub(super) fn judged(
    fixed: &[u32],
    warped: &[u32],
    moving: Option<&[u32]>,
    choice: Option<&[u32]>,
) -> Result<Vec<(u32, bool)>> {
    if fixed.len() != warped.len() {
        return Err(Error::Shape {
            what: "warped labels (on the fixed grid)",
            expected: vec![fixed.len()],
            got: vec![warped.len()],
        });
    }
    let in_fixed = present(fixed);
    let in_moving = present(moving.unwrap_or(warped));
    let chosen: BTreeSet<u32> = match choice {
        Some(labels) => labels.iter().copied().filter(|&label| label != 0).collect(),
        None => in_fixed.union(&in_moving).copied().collect(),
    };
    if chosen.is_empty() {
        return Err(Error::data(
            "labels",
            "expected at least one label other than 0 in the fixed or the moving labels, found none",
        ));
    }
    Ok(chosen
        .into_iter()
        .map(|label| {
            (
                label,
                in_fixed.contains(&label) && in_moving.contains(&label),
            )
        })
        .collect())
}

/// The place of a label in an ascending list, remembering the last one asked for.
pub(super) struct Places<'a> {
    labels: &'a [(u32, bool)],
    last: (u32, Option<usize>),
}

impl<'a> Places<'a> {
    pub(super) fn new(labels: &'a [(u32, bool)]) -> Self {
        Self {
            labels,
            last: (0, None),
        }
    }

    pub(super) fn of(&mut self, label: u32) -> Option<usize> {
        if label != self.last.0 {
            let place = self.labels.binary_search_by_key(&label, |entry| entry.0);
            self.last = (label, place.ok());
        }
        self.last.1
    }
}

/// A box of voxels, from `low` to `high`, both inside.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) low: [usize; 3],
    pub(super) high: [usize; 3],
}

/// The smallest box around each label in either volume; `None` where a label is in neither.
pub(super) fn bounds(
    volumes: [&[u32]; 2],
    size: [usize; 3],
    labels: &[(u32, bool)],
) -> Vec<Option<Bounds>> {
    let join = |a: Option<Bounds>, b: Option<Bounds>| match (a, b) {
        (Some(a), Some(b)) => Some(Bounds {
            low: std::array::from_fn(|i| a.low[i].min(b.low[i])),
            high: std::array::from_fn(|i| a.high[i].max(b.high[i])),
        }),
        (a, b) => a.or(b),
    };
    (0..size[1] * size[2])
        .into_par_iter()
        .fold(
            || vec![None; labels.len()],
            |mut boxes, line| {
                let (j, k) = (line % size[1], line / size[1]);
                for volume in volumes {
                    let mut places = Places::new(labels);
                    let row = &volume[line * size[0]..(line + 1) * size[0]];
                    for (i, &label) in row.iter().enumerate() {
                        if label == 0 {
                            continue;
                        }
                        if let Some(place) = places.of(label) {
                            let here = Bounds {
                                low: [i, j, k],
                                high: [i, j, k],
                            };
                            boxes[place] = join(boxes[place], Some(here));
                        }
                    }
                }
                boxes
            },
        )
        .reduce(
            || vec![None; labels.len()],
            |a, b| a.into_iter().zip(b).map(|(a, b)| join(a, b)).collect(),
        )
}
