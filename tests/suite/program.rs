//! Runs the built program in a folder of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use stillpoint::{Affine, DisplacementField, Grid, Image, Labels};
use tempfile::TempDir;

/// A folder with files, and the program run in it.
pub struct Program {
    folder: TempDir,
}

impl Program {
    pub fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn image(&self, name: &str, grid: &Grid, value: impl Fn([f64; 3]) -> f64) {
        let values = world_points(grid).map(|p| value(p) as f32).collect();
        let image = Image::new(grid.clone(), 1, values).unwrap();
        image.write(self.path(name)).unwrap();
    }

    pub fn labels(&self, name: &str, grid: &Grid, label: impl Fn([f64; 3]) -> u32) {
        let values = world_points(grid).map(label).collect();
        let labels = Labels::new(grid.clone(), values).unwrap();
        labels.write(self.path(name)).unwrap();
    }

    pub fn field(&self, name: &str, grid: &Grid, vector: impl Fn([f64; 3]) -> [f64; 3]) {
        field(grid, vector).write(self.path(name)).unwrap();
    }

    pub fn points(&self, name: &str, points: &[[f64; 3]]) {
        let points = stillpoint::Points::new(points.to_vec());
        points.write(self.path(name)).unwrap();
    }

    /// Runs the program with words split at spaces.
    pub fn run(&self, words: &str) -> Output {
        Command::new(env!("CARGO_BIN_EXE_stillpoint"))
            .args(words.split_whitespace())
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// [`Program::run`] where no file can be longer than `blocks` of 512 bytes: that stands in for a disk that is full.
    #[cfg(unix)]
    pub fn run_on_a_full_disk(&self, words: &str, blocks: usize) -> Output {
        let shell = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {words}");
        Command::new("sh")
            .args(["-c", &shell, env!("CARGO_BIN_EXE_stillpoint")])
            .current_dir(self.folder.path())
            .output()
            .unwrap()
    }

    /// Runs the program, which must succeed without a word on standard error; returns its standard output.
    #[track_caller]
    pub fn output(&self, words: &str) -> String {
        let found = self.run(words);
        let error = String::from_utf8(found.stderr).unwrap();
        assert!(found.status.success(), "{words}: {error}");
        assert_eq!(error, "", "{words}");
        String::from_utf8(found.stdout).unwrap()
    }

    /// Runs the program, which must fail with code 1, say all of `expected`, and leave the folder as it was.
    #[track_caller]
    pub fn refusal(&self, words: &str, expected: &[&str]) {
        let before = self.names();
        let found = self.run(words);
        let error = String::from_utf8(found.stderr).unwrap();
        assert_eq!(found.status.code(), Some(1), "{words}: {error}");
        assert!(error.contains("error: "), "{words}: {error}");
        for text in expected {
            assert!(error.contains(text), "{words}: no {text:?} in {error}");
        }
        assert_eq!(self.names(), before, "{words}");
    }

    /// The names of all files, hidden ones too.
    pub fn names(&self) -> Vec<String> {
        let name = |entry: std::io::Result<std::fs::DirEntry>| {
            entry.unwrap().file_name().into_string().unwrap()
        };
        let mut names: Vec<String> = folder_of(self.folder.path()).map(name).collect();
        names.sort();
        names
    }
}

fn folder_of(path: &Path) -> std::fs::ReadDir {
    std::fs::read_dir(path).unwrap()
}

/// World positions of all voxels, first axis fastest.
pub fn world_points(grid: &Grid) -> impl Iterator<Item = [f64; 3]> + '_ {
    let (map, size) = (grid.index_to_world(), grid.size());
    (0..grid.voxels()).map(move |v| {
        map.apply([
            (v % size[0]) as f64,
            (v / size[0] % size[1]) as f64,
            (v / (size[0] * size[1])) as f64,
        ])
    })
}

/// A field of the vectors of a function of the world.
pub fn field(grid: &Grid, vector: impl Fn([f64; 3]) -> [f64; 3]) -> DisplacementField {
    let vectors: Vec<[f64; 3]> = world_points(grid).map(vector).collect();
    let values = (0..grid.rank())
        .flat_map(|c| vectors.iter().map(move |v| v[c] as f32))
        .collect();
    DisplacementField::new(grid.clone(), values).unwrap()
}

/// Grids of rank 2 and 3 with three spacings each: along the axes, turned about all axes, and turned and mirrored; all
/// around the world's origin.
pub fn grids(scale: f64) -> Vec<Grid> {
    let mut grids = Vec::new();
    for rank in [2, 3] {
        for (angle, sign) in [(0.0, 1.0), (0.4, 1.0), (-0.7, -1.0)] {
            let tilt = if rank == 2 { 0.0 } else { angle };
            let turn = [[0.0, angle, tilt], [-angle, 0.0, -tilt], [-tilt, tilt, 0.0]];
            let direction = Affine::exp(&Affine::new(turn, [0.0; 3]))
                .matrix
                .map(|row| [sign * row[0], row[1], row[2]]);
            let size = [27, 22, 13].map(|n| (f64::from(n) / scale) as usize);
            let spacing = [0.8 * scale, 1.1 * scale, 1.9 * scale];
            let centred = Grid::new(&size[..rank], &spacing[..rank], [0.0; 3], direction).unwrap();
            let origin = centred.centre().map(|v| -v);
            grids.push(Grid::new(&size[..rank], &spacing[..rank], origin, direction).unwrap());
        }
    }
    grids
}

/// A small affine map of the world; in 2D it leaves the plane alone.
pub fn affine(rank: usize) -> Affine {
    let mut map = Affine::new(
        [[1.05, 0.1, -0.04], [-0.08, 0.95, 0.06], [0.03, -0.05, 1.02]],
        [1.5, -2.25, 0.75],
    );
    if rank == 2 {
        map.matrix[2] = [0.0, 0.0, 1.0];
        map.matrix[0][2] = 0.0;
        map.matrix[1][2] = 0.0;
        map.translation[2] = 0.0;
    }
    map
}

/// A displacement that linear interpolation reproduces: affine in the world.
pub fn shear(rank: usize) -> impl Fn([f64; 3]) -> [f64; 3] {
    move |[x, y, z]| {
        let up = if rank == 3 {
            0.03 * x - 0.02 * y + 0.5
        } else {
            0.0
        };
        [0.5 + 0.05 * y - 0.03 * z, -0.75 + 0.04 * x, up]
    }
}
