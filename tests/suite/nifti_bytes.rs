//! NIfTI files built by hand, byte by byte, for the tests of the readers.

use std::io::Write;

/// A header's fields, little- or big-endian.
#[derive(Clone)]
pub struct Raw {
    pub big: bool,
    pub dim: [i16; 8],
    pub pixdim: [f32; 8],
    pub datatype: i16,
    pub bitpix: i16,
    pub intent: i16,
    pub vox_offset: f32,
    pub slope: f32,
    pub inter: f32,
    pub units: u8,
    pub qform_code: i16,
    pub sform_code: i16,
    pub quaternion: [f32; 3],
    pub offset: [f32; 3],
    pub sform: [[f32; 4]; 3],
    pub magic: [u8; 4],
    pub data: Vec<u8>,
}

impl Raw {
    /// Single-precision values on a grid of this size, sform code 1, identity with spacing 1.
    pub fn new(size: &[i16], values: &[f32]) -> Self {
        let mut dim = [1; 8];
        dim[0] = size.len() as i16;
        dim[1..=size.len()].copy_from_slice(size);
        Self {
            big: false,
            dim,
            pixdim: [1.0; 8],
            datatype: 16,
            bitpix: 32,
            intent: 0,
            vox_offset: 352.0,
            slope: 1.0,
            inter: 0.0,
            units: 2,
            qform_code: 0,
            sform_code: 1,
            quaternion: [0.0; 3],
            offset: [0.0; 3],
            sform: [
                [1.0, 0.0, 0.0, 0.0],
                [0.0, 1.0, 0.0, 0.0],
                [0.0, 0.0, 1.0, 0.0],
            ],
            magic: *b"n+1\0",
            data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        }
    }

    fn put<const N: usize>(&self, out: &mut [u8], offset: usize, little: [u8; N]) {
        let mut bytes = little;
        if self.big {
            bytes.reverse();
        }
        out[offset..offset + N].copy_from_slice(&bytes);
    }

    /// The 348 bytes of the header.
    pub fn header(&self) -> Vec<u8> {
        let mut out = vec![0; 348];
        self.put(&mut out, 0, 348i32.to_le_bytes());
        for a in 0..8 {
            self.put(&mut out, 40 + 2 * a, self.dim[a].to_le_bytes());
            self.put(&mut out, 76 + 4 * a, self.pixdim[a].to_le_bytes());
        }
        self.put(&mut out, 68, self.intent.to_le_bytes());
        self.put(&mut out, 70, self.datatype.to_le_bytes());
        self.put(&mut out, 72, self.bitpix.to_le_bytes());
        self.put(&mut out, 108, self.vox_offset.to_le_bytes());
        self.put(&mut out, 112, self.slope.to_le_bytes());
        self.put(&mut out, 116, self.inter.to_le_bytes());
        out[123] = self.units;
        out[148..157].copy_from_slice(b"test scan");
        self.put(&mut out, 252, self.qform_code.to_le_bytes());
        self.put(&mut out, 254, self.sform_code.to_le_bytes());
        for a in 0..3 {
            self.put(&mut out, 256 + 4 * a, self.quaternion[a].to_le_bytes());
            self.put(&mut out, 268 + 4 * a, self.offset[a].to_le_bytes());
            for c in 0..4 {
                self.put(
                    &mut out,
                    280 + 16 * a + 4 * c,
                    self.sform[a][c].to_le_bytes(),
                );
            }
        }
        out[344..348].copy_from_slice(&self.magic);
        out
    }

    /// The whole file.
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = self.header();
        out.resize((self.vox_offset.max(348.0) as usize).max(348), 0);
        out.extend(&self.data);
        out
    }
}

/// One gzip member.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}
