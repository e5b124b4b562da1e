//! The inputs of a block of outputs, copied together with their zero border so that every tap of every output is a
//! constant distance away.

use super::axis::Axis;
use super::Channels;
use crate::ops::lanes::{dispatch, Kernel, Lanes};
use crate::ops::real::Real;

/// Elements that the packed inputs of a block may take: they stay in the second-level cache.
const PACKED: usize = 160 << 10;
/// About how many blocks a volume should have at least.
const BLOCKS: usize = 16;
/// Elements after the last row that vectors may read.
pub(super) const SLACK: usize = 128;

/// The cut of the outputs into blocks of planes and rows, and the layout of a block's inputs: channels, phases
/// (z, y, x), planes, rows.
pub(super) struct Window {
    /// Fastest axis first.
    pub axes: [Axis; 3],
    /// Planes and rows of outputs in a block.
    pub planes: usize,
    pub rows: usize,
    /// From one row to the next.
    pub pitch: usize,
    packed_planes: usize,
    packed_rows: usize,
}

/// The outputs of one block: first plane, planes, first row, rows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Block {
    pub item: usize,
    pub plane: usize,
    pub planes: usize,
    pub row: usize,
    pub rows: usize,
}

impl Window {
    /// With blocks of so many outputs and planes at most.
    pub(super) fn new(axes: [Axis; 3], channels: usize, most: [usize; 2]) -> Self {
        let pitch = axes[0].pitch();
        let nz = axes[2].count;
        let (ry, rz) = (axes[1].reach(), axes[2].reach());
        let phases: usize = axes.iter().map(|a| a.scale).product();
        let fits = |planes: usize, rows: usize| {
            let packed = channels * phases * (planes + rz) * (rows + ry) * pitch;
            planes * rows * pitch <= most[0] && packed <= PACKED
        };
        Self::cheapest(axes, [1, 1], nz.min(most[1]), 0, fits, |_, rows| {
            rows * pitch
        })
    }

    /// With the blocks that copy the fewest inputs an output, of whole `steps` of planes and rows, among those that fit and
    /// leave enough blocks to a volume; one step of each where none does. `run` is the length of what is computed at once
    /// in a block of so many planes and rows, `few` a length that need not be cut for the number of blocks.
    pub(super) fn cheapest(
        axes: [Axis; 3],
        steps: [usize; 2],
        most_planes: usize,
        few: usize,
        fits: impl Fn(usize, usize) -> bool,
        run: impl Fn(usize, usize) -> usize,
    ) -> Self {
        let pitch = axes[0].pitch();
        let (ny, nz) = (axes[1].count, axes[2].count);
        let (ry, rz) = (axes[1].reach(), axes[2].reach());
        let phases: usize = axes.iter().map(|a| a.scale).product();
        let most = (ny * nz * pitch / BLOCKS).max(1);
        let mut best = (f64::INFINITY, steps[0], steps[1]);
        for planes in (steps[0]..=most_planes.next_multiple_of(steps[0])).step_by(steps[0]) {
            for rows in (steps[1]..=ny.next_multiple_of(steps[1])).step_by(steps[1]) {
                let many = planes * rows * pitch > most && run(planes, rows) > few;
                if many || !fits(planes, rows) {
                    continue;
                }
                // inputs copied an output, and a little for starting a run
                let copies = (phases * (planes + rz) * (rows + ry)) as f64 / (planes * rows) as f64;
                let cost = copies + 32.0 / run(planes, rows) as f64;
                if cost < best.0 {
                    best = (cost, planes, rows);
                }
            }
        }
        let (_, planes, rows) = best;
        Self {
            planes,
            rows,
            pitch,
            packed_planes: planes + rz,
            packed_rows: rows + ry,
            axes,
        }
    }

    /// The blocks of a batch.
    pub(super) fn blocks(&self, batch: usize) -> Vec<Block> {
        let (ny, nz) = (self.axes[1].count, self.axes[2].count);
        let mut blocks = Vec::new();
        for item in 0..batch {
            for plane in (0..nz).step_by(self.planes) {
                for row in (0..ny).step_by(self.rows) {
                    blocks.push(Block {
                        item,
                        plane,
                        planes: self.planes.min(nz - plane),
                        row,
                        rows: self.rows.min(ny - row),
                    });
                }
            }
        }
        blocks
    }

    /// From one plane of a block to the next.
    pub(super) fn plane(&self) -> usize {
        self.packed_rows * self.pitch
    }

    /// Elements of a phase.
    fn phase(&self) -> usize {
        self.packed_planes * self.plane()
    }

    /// Elements of a channel.
    pub(super) fn channel(&self) -> usize {
        self.axes.iter().map(|a| a.scale).product::<usize>() * self.phase()
    }

    /// The longest run of outputs in a plane of a block, its gaps between rows included.
    pub(super) fn run(&self) -> usize {
        self.rows * self.pitch
    }

    /// How far ahead each tap lies, for channel after channel, and the tap's place in the kernel of size `kernel`.
    pub(super) fn taps(&self, channels: usize, kernel: [usize; 3]) -> (Vec<u32>, Vec<usize>) {
        let [x, y, z] = &self.axes;
        let (mut offsets, mut entries) = (Vec::new(), Vec::new());
        for c in 0..channels {
            for &tz in &z.taps {
                for &ty in &y.taps {
                    for &tx in &x.taps {
                        let ((pz, dz), (py, dy), (px, dx)) =
                            (z.place(tz), y.place(ty), x.place(tx));
                        let phase = (pz * y.scale + py) * x.scale + px;
                        let at = c * self.channel()
                            + phase * self.phase()
                            + dz * self.plane()
                            + dy * self.pitch
                            + dx;
                        offsets.push(at as u32);
                        entries.push((tz.entry * kernel[1] + ty.entry) * kernel[0] + tx.entry);
                    }
                }
            }
        }
        entries.truncate(entries.len() / channels.max(1));
        (offsets, entries)
    }

    /// Copies the inputs of a block, all channels and the slack after them.
    pub(super) fn pack_all<T: Real>(&self, source: &Channels<'_, T>, block: Block, to: &mut [T]) {
        let (channels, slack) = to.split_at_mut(source.count() * self.channel());
        for (c, to) in channels.chunks_exact_mut(self.channel()).enumerate() {
            self.pack(source.volume(block.item, c), block, to);
        }
        slack.fill(T::of(0.0));
    }

    /// Copies the inputs of a block from a channel's volume.
    fn pack<T: Real>(&self, volume: &[T], block: Block, to: &mut [T]) {
        let [x, y, z] = &self.axes;
        let zero = T::of(0.0);
        let (nx, ny) = (x.input, y.input);
        let mut rest = to;
        for pz in 0..z.scale {
            for py in 0..y.scale {
                for px in 0..x.scale {
                    let (phase, next) = rest.split_at_mut(self.phase());
                    rest = next;
                    for (p, plane) in phase.chunks_exact_mut(self.plane()).enumerate() {
                        let iz = inside(z, block.plane + p, pz);
                        let Some(iz) = iz.filter(|_| p < block.planes + z.reach()) else {
                            plane.fill(zero);
                            continue;
                        };
                        for (r, row) in plane.chunks_exact_mut(self.pitch).enumerate() {
                            let iy = inside(y, block.row + r, py);
                            let Some(iy) = iy.filter(|_| r < block.rows + y.reach()) else {
                                row.fill(zero);
                                continue;
                            };
                            deal(x, &volume[(iz * ny + iy) * nx..][..nx], px, row);
                        }
                    }
                }
            }
        }
    }
}

/// The input at place `at` of a phase, if there is one.
fn inside(axis: &Axis, at: usize, phase: usize) -> Option<usize> {
    let index = (axis.scale * at + phase) as isize + axis.low();
    (0..axis.input as isize)
        .contains(&index)
        .then_some(index as usize)
}

/// A phase of a row, zero where there is no input.
fn deal<T: Real>(axis: &Axis, from: &[T], phase: usize, to: &mut [T]) {
    let zero = T::of(0.0);
    let shift = phase as isize + axis.low();
    // first and last place with an input
    let first = (-shift).max(0) as usize;
    let first = first.div_ceil(axis.scale).min(to.len());
    let end = (axis.input as isize - shift).max(0) as usize;
    let end = end.div_ceil(axis.scale).clamp(first, to.len());
    to[..first].fill(zero);
    to[end..].fill(zero);
    if first == end {
        return;
    }
    let start = ((axis.scale * first) as isize + shift) as usize;
    let (from, to) = (&from[start..], &mut to[first..end]);
    match axis.scale {
        1 => to.copy_from_slice(&from[..to.len()]),
        2 => dispatch(EverySecond { from, to }),
        scale => {
            for (to, from) in to.iter_mut().zip(from.iter().step_by(scale)) {
                *to = *from;
            }
        }
    }
}

/// Every second element of a row.
struct EverySecond<'a, T> {
    from: &'a [T],
    to: &'a mut [T],
}

impl<T: Real> Kernel<T> for EverySecond<'_, T> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<L: Lanes<Element = T>>(self) {
        let Self { from, to } = self;
        let vectors = (to.len() / L::COUNT).min(from.len() / (2 * L::COUNT));
        for k in 0..vectors {
            let at = k * L::COUNT;
            // SAFETY: so many whole vectors lie within both rows.
            unsafe {
                let low = L::load(from.as_ptr().add(2 * at));
                let high = L::load(from.as_ptr().add(2 * at + L::COUNT));
                low.every_second(high).store(to.as_mut_ptr().add(at));
            }
        }
        for at in vectors * L::COUNT..to.len() {
            to[at] = from[2 * at];
        }
    }
}
