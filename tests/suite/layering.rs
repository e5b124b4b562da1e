//! The floors of the crate: imports go down only, and rooms on one floor do not import each other.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// The floor of each room. A new room is entered here.
const FLOORS: &[(&str, u8)] = &[
    ("error", 0),
    ("geometry", 0),
    ("memory", 1),
    ("rng", 0),
    ("ops", 1),
    ("image", 2),
    ("linear", 2),
    ("features", 3),
    ("prompt", 3),
    ("regulariser", 3),
    ("similarity", 3),
    ("transform", 3),
    ("evaluation", 4),
    ("phantom", 4),
    ("picture", 4),
    ("problem", 4),
    ("solver", 5),
    ("registration", 6),
    ("adjoint", 6),
    ("layer", 7),
    ("train", 8),
    ("cli", 9),
    ("guide", 9),
];

fn floor(room: &str) -> Option<u8> {
    FLOORS
        .iter()
        .find(|(name, _)| *name == room)
        .map(|(_, floor)| *floor)
}

/// The source without comments that fill a line.
fn code(source: &str) -> String {
    let lines = source.lines();
    let kept: Vec<&str> = lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    kept.join("\n")
}

fn word(text: &str) -> &str {
    let end = text
        .find(|c: char| !c.is_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    &text[..end]
}

/// The items of a brace group that starts at `text`, split at its outer commas.
fn group(text: &str) -> Vec<&str> {
    let mut items = Vec::new();
    let (mut depth, mut start) = (0, 1);
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 1 => {
                items.push(text[start..at].trim());
                start = at + 1;
            }
            '}' => {
                depth -= 1;
                if depth == 0 {
                    items.push(text[start..at].trim());
                    break;
                }
            }
            _ => {}
        }
    }
    items.retain(|item| !item.is_empty());
    items
}

/// The first names after each `prefix` of a source.
fn names_after(source: &str, prefix: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (at, _) in source.match_indices(prefix) {
        let before = source[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &source[at + prefix.len()..];
        if rest.starts_with('{') {
            names.extend(group(rest).into_iter().map(|item| word(item).to_owned()));
        } else {
            names.push(word(rest).to_owned());
        }
    }
    names
}

/// Which room each flat re-export of `lib.rs` comes from.
fn exports(lib: &str) -> BTreeMap<String, String> {
    let mut exports = BTreeMap::new();
    let lib = code(lib);
    for part in lib.split("pub use ").skip(1) {
        let path = part.split(';').next().unwrap_or(part);
        let room = word(path).to_owned();
        let Some(rest) = path[room.len()..].strip_prefix("::") else {
            continue;
        };
        let items = if rest.starts_with('{') {
            group(rest)
        } else {
            vec![rest.trim()]
        };
        for item in items {
            let name = item.rsplit([' ', ':']).next().unwrap_or(item);
            exports.insert(name.to_owned(), room.clone());
        }
    }
    exports
}

/// What is wrong with the imports of a file that belongs to `room`; `root` where it is the room's own module file.
fn faults(room: &str, root: bool, source: &str, exports: &BTreeMap<String, String>) -> Vec<String> {
    let Some(own) = floor(room) else {
        return vec![format!(
            "room '{room}' has no floor: enter it in FLOORS in tests/suite/layering.rs"
        )];
    };
    let source = code(source);
    let mut faults = Vec::new();
    for name in names_after(&source, "crate::") {
        let other = exports.get(&name).unwrap_or(&name);
        let allowed = match floor(other) {
            _ if other == room => true,
            Some(other_floor) if other_floor == own => own == 0 && other == "error",
            Some(other_floor) => other_floor < own,
            None => {
                faults.push(format!("crate::{name} is neither a room nor re-exported"));
                continue;
            }
        };
        if !allowed {
            faults.push(format!(
                "{room} (floor {own}) imports crate::{name}, of {other} (floor {})",
                floor(other).map_or_else(String::new, |f| f.to_string())
            ));
        }
    }
    let escape = if root {
        "use super::"
    } else {
        "use super::super::"
    };
    if source.lines().any(|line| line.starts_with(escape)) {
        faults.push(format!("'{escape}' leaves the room: write crate:: instead"));
    }
    faults
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn imports_go_down_only() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let exports = exports(&fs::read_to_string(src.join("lib.rs")).unwrap());
    let mut found = Vec::new();
    files(&src, &mut found);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for path in found {
        let inside = path.strip_prefix(&src).unwrap();
        let parts: Vec<&str> = inside.iter().filter_map(|part| part.to_str()).collect();
        if ["lib.rs", "main.rs"].contains(&parts[0]) {
            continue;
        }
        let room = parts[0].trim_end_matches(".rs");
        let root = parts.len() == 1 || parts[1..] == ["mod.rs"];
        // A file deeper in its room may say `super::super::` and stay inside.
        let shallow = parts.len() <= 2;
        let source = fs::read_to_string(&path).unwrap();
        for fault in faults(room, root, &source, &exports) {
            if shallow || !fault.contains("leaves the room") {
                wrong.push(format!("src/{}: {fault}", inside.display()));
            }
        }
        seen += 1;
    }
    assert!(seen > 10, "only {seen} files found");
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn the_checker_sees_what_it_should() {
    let exports = exports("pub use error::{Error, Result};\npub use image::Volume;\npub use solver::{Solution as Still};");
    assert_eq!(exports["Volume"], "image");
    assert_eq!(exports["Still"], "solver");
    let count = |room: &str, root: bool, source: &str| faults(room, root, source, &exports).len();
    for good in [
        "use crate::{Error, Result};",
        "use crate::Volume;\nfn f() -> crate::Result<()> {}",
        "/// See [`crate::Still`].\nfn f() {}",
        "use crate::ops::{warp, smooth};",
        "use crate::{ops::{warp, resize}, Error};",
        "use crate::transform::Affine;",
        "use super::Field;",
        "use other_crate::Still;",
        "macro_rules! m { () => { $crate::Volume } }",
    ] {
        assert_eq!(count("transform", false, good), 0, "{good}");
    }
    for bad in [
        "use crate::Still;",
        "use crate::{Error, Still};",
        "fn f() { crate::solver::run() }",
        "use crate::similarity::Mse;",
        "use crate::{ops::{warp, resize}, solver::Step};",
        "use crate::*;",
        "use crate::Unknown;",
        "use super::super::solver::Step;",
    ] {
        assert_eq!(count("transform", false, bad), 1, "{bad}");
    }
    assert_eq!(count("rng", true, "use super::geometry::Grid;"), 1);
    assert_eq!(count("rng", true, "use crate::geometry::Grid;"), 1);
    assert_eq!(count("geometry", true, "use crate::Error;"), 0);
    assert_eq!(count("attic", true, ""), 1);
}
