// Convolution of channels with zeros beyond the border, and its adjoints.
//
//   gather_forward   out[o, x] = bias[o] + sum_c sum_k w[o, c, k] in[c, stride x + k - kernel / 2]
//   gather_back      its adjoint to the inputs: out[c, x] = sum_o sum_k w[o, c, k] in[o, (x + kernel / 2 - k) / stride] over the
//                    k for which that is whole; with strides of one it is gather_forward with the kernel flipped
//   correlate        its adjoint to the weights, sum_x g[o, x] in[c, stride x + k - kernel / 2], piece by piece; `collect` adds
//                    up the pieces
//   sum_channels     that to the bias, sum_x g[o, x], piece by piece; `collect_channels` adds up the pieces
//
// Layout: images [batch, channels, (nz,) ny, nx], two tensors of them one after the other where `split` is less than `inputs`;
// weights [outputs, inputs, (kz,) ky, kx], from which `pack` makes [groups, inputs, kernel, OUTPUTS], with zeros for outputs that
// are not there. Two dimensions are three with one plane. A thread of a gather has OUTPUTS channels of ROWS voxels that lie one
// above the other: neighbouring threads read neighbouring voxels, and all of a warp the same weights. Boundary: zeros.
// Order: the sums of a gather run over channels, then over the kernel; those of `correlate` are of Real within a thread, of doubles
// beyond, by a fixed tree.

#define OUTPUTS 8
#define ROWS 4

// Channels of a block of `correlate`, beside OUTPUTS of the result's.
#define CHANNELS 4

// Weights of a tap, read at once.
struct alignas(16) Lanes {
    Real of[OUTPUTS];
};

// What is convolved, and to what. Sizes are those of what is read and what is written.
struct Convolution {
    Size from, to, kernel, stride;
    int inputs, outputs, split;
};

// Channel c of an item.
__device__ const Real *channel(const Convolution &of, const Real *first, const Real *second, int item, int c) {
    const Offset n = voxels<3>(of.from);
    if (c < of.split) {
        return first + ((Offset)item * of.split + c) * n;
    }
    return second + ((Offset)item * (of.inputs - of.split) + c - of.split) * n;
}

// Where entry k of the kernel finds the input of output x along an axis; -1 where there is none.
template <bool BACK>
__device__ int source(const Convolution &of, int axis, int x, int k) {
    const int half = of.kernel.n[axis] / 2, stride = of.stride.n[axis];
    int at;
    if (BACK) {
        at = x + half - k;
        if (at < 0 || at % stride != 0) {
            return -1;
        }
        at /= stride;
    } else {
        at = x * stride + k - half;
    }
    return at >= 0 && at < of.from.n[axis] ? at : -1;
}

// Which weights a gather takes: those of output o and input c begin at start + o * across + c * along; `flipped` ones from the last
// entry of the kernel to the first.
struct Packing {
    int outputs, inputs, entries, start, across, along, flipped;
};

__device__ void pack(int n, const Packing &of, const Real *weights, Real *packed) {
    EACH_VOXEL(v, n) {
        const int lane = v % OUTPUTS, at = v / OUTPUTS % of.entries, c = v / OUTPUTS / of.entries % of.inputs;
        const int o = v / OUTPUTS / of.entries / of.inputs * OUTPUTS + lane, k = of.flipped ? of.entries - 1 - at : at;
        packed[v] = o < of.outputs ? weights[of.start + o * of.across + c * of.along + k] : (Real)0.0f;
    }
}

template <bool BACK>
__device__ void gather(int n, const Convolution &of, const Real *first, const Real *second, const Lanes *packed, const Real *bias, Real *out) {
    const int groups = (of.outputs + OUTPUTS - 1) / OUTPUTS, rows = (of.to.n[1] + ROWS - 1) / ROWS;
    const int entries = voxels<3>(of.kernel), nx = of.from.n[0];
    EACH_VOXEL(v, n) {
        int rest = v;
        const int x = rest % of.to.n[0];
        rest /= of.to.n[0];
        const int y = rest % rows * ROWS;
        rest /= rows;
        const int z = rest % of.to.n[2];
        rest /= of.to.n[2];
        const int group = rest % groups, item = rest / groups;
        Real sum[OUTPUTS][ROWS];
        for (int o = 0; o < OUTPUTS; o++) {
            const int at = group * OUTPUTS + o;
            const Real start = bias && at < of.outputs ? bias[at] : (Real)0.0f;
            for (int r = 0; r < ROWS; r++) {
                sum[o][r] = start;
            }
        }
        for (int c = 0; c < of.inputs; c++) {
            const Real *image = channel(of, first, second, item, c);
            const Lanes *weights = packed + ((Offset)group * of.inputs + c) * entries;
            for (int kz = 0; kz < of.kernel.n[2]; kz++) {
                const int iz = source<BACK>(of, 2, z, kz);
                if (iz < 0) {
                    continue;
                }
                for (int ky = 0; ky < of.kernel.n[1]; ky++) {
                    Offset row[ROWS];
                    bool inside[ROWS];
                    for (int r = 0; r < ROWS; r++) {
                        const int iy = y + r < of.to.n[1] ? source<BACK>(of, 1, y + r, ky) : -1;
                        inside[r] = iy >= 0;
                        row[r] = ((Offset)iz * of.from.n[1] + iy) * nx;
                    }
                    const Lanes *here = weights + (kz * of.kernel.n[1] + ky) * of.kernel.n[0];
                    for (int kx = 0; kx < of.kernel.n[0]; kx++, here++) {
                        const int ix = source<BACK>(of, 0, x, kx);
                        if (ix < 0) {
                            continue;
                        }
                        Real in[ROWS];
                        for (int r = 0; r < ROWS; r++) {
                            in[r] = inside[r] ? image[row[r] + ix] : (Real)0.0f;
                        }
                        const Lanes weight = *here;
                        for (int o = 0; o < OUTPUTS; o++) {
                            for (int r = 0; r < ROWS; r++) {
                                sum[o][r] = real::fma(weight.of[o], in[r], sum[o][r]);
                            }
                        }
                    }
                }
            }
        }
        for (int o = 0; o < OUTPUTS; o++) {
            const int at = group * OUTPUTS + o;
            if (at >= of.outputs) {
                break;
            }
            Real *volume = out + ((Offset)item * of.outputs + at) * voxels<3>(of.to);
            for (int r = 0; r < ROWS; r++) {
                if (y + r < of.to.n[1]) {
                    volume[((Offset)z * of.to.n[1] + y + r) * of.to.n[0] + x] = sum[o][r];
                }
            }
        }
    }
}

// A block has a tile of weights, one entry of the kernel for some channels of either side, over a piece of the voxels of all items.
__device__ void correlate(const Convolution &of, const Pieces &pieces, const Real *first, const Real *second, const Real *cotangent, double *parts) {
    const int entries = voxels<3>(of.kernel), n = voxels<3>(of.to);
    const int groups = (of.outputs + OUTPUTS - 1) / OUTPUTS;
    EACH_TASK(task, pieces) {
        int rest = task / pieces.count;
        const int entry = rest % entries;
        rest /= entries;
        const int o = rest % groups * OUTPUTS, c = rest / groups * CHANNELS;
        const int kx = entry % of.kernel.n[0], ky = entry / of.kernel.n[0] % of.kernel.n[1];
        const int kz = entry / of.kernel.n[0] / of.kernel.n[1];
        Real sum[CHANNELS][OUTPUTS];
        for (int i = 0; i < CHANNELS; i++) {
            for (int j = 0; j < OUTPUTS; j++) {
                sum[i][j] = 0.0f;
            }
        }
        EACH_IN_PIECE(at, task, pieces) {
            const int item = at / n, v = at % n;
            int index[3];
            place<3>(v, of.to, index);
            const int ix = source<false>(of, 0, index[0], kx), iy = source<false>(of, 1, index[1], ky);
            const int iz = source<false>(of, 2, index[2], kz);
            if (ix < 0 || iy < 0 || iz < 0) {
                continue;
            }
            const Offset from = ((Offset)iz * of.from.n[1] + iy) * of.from.n[0] + ix;
            Real in[CHANNELS];
            for (int i = 0; i < CHANNELS; i++) {
                in[i] = c + i < of.inputs ? channel(of, first, second, item, c + i)[from] : (Real)0.0f;
            }
            for (int j = 0; j < OUTPUTS; j++) {
                const Real g = o + j < of.outputs ? cotangent[((Offset)item * of.outputs + o + j) * n + v] : (Real)0.0f;
                for (int i = 0; i < CHANNELS; i++) {
                    sum[i][j] = real::fma(g, in[i], sum[i][j]);
                }
            }
        }
        // unrolled, so that the sums stay in registers
#pragma unroll
        for (int i = 0; i < CHANNELS; i++) {
            double part[OUTPUTS];
            for (int j = 0; j < OUTPUTS; j++) {
                part[j] = sum[i][j];
            }
            block_totals<OUTPUTS>(part, parts + ((Offset)task * CHANNELS + i) * OUTPUTS);
        }
    }
}

// The weights, from what the blocks have left.
__device__ void collect(int n, const Convolution &of, const Pieces &pieces, const double *parts, Real *weights) {
    const int entries = voxels<3>(of.kernel), groups = (of.outputs + OUTPUTS - 1) / OUTPUTS;
    EACH_VOXEL(v, n) {
        const int entry = v % entries, c = v / entries % of.inputs, o = v / entries / of.inputs;
        const int tile = (c / CHANNELS * groups + o / OUTPUTS) * entries + entry;
        double sum = 0.0;
        for (int piece = 0; piece < pieces.count; piece++) {
            sum += parts[(((Offset)tile * pieces.count + piece) * CHANNELS + c % CHANNELS) * OUTPUTS + o % OUTPUTS];
        }
        weights[v] = (Real)sum;
    }
}

// Pieces of every channel of every item, a tile each.
__device__ void sum_channels(const Pieces &pieces, const Real *cotangent, double *parts) {
    EACH_TASK(task, pieces) {
        const Real *volume = cotangent + (Offset)(task / pieces.count) * pieces.voxels;
        double part[1] = {0.0};
        EACH_IN_PIECE(v, task, pieces) {
            part[0] += (double)volume[v];
        }
        block_totals<1>(part, parts + task);
    }
}

__device__ void collect_channels(int channels, const Pieces &pieces, const double *parts, Real *bias) {
    EACH_VOXEL(c, channels) {
        double sum = 0.0;
        for (int tile = c; tile < pieces.tiles; tile += channels) {
            double of_tile[1];
            sums_of_tile<1>(tile, pieces, parts, of_tile);
            sum += of_tile[0];
        }
        bias[c] = (Real)sum;
    }
}

KERNEL(pack_weights, (int n, Packing of, const Real *weights, Real *packed), pack(n, of, weights, packed))
KERNEL(gather_forward,
    (int n, Convolution of, const Real *first, const Real *second, const Lanes *packed, const Real *bias, Real *out),
    gather<false>(n, of, first, second, packed, bias, out))
KERNEL(gather_back,
    (int n, Convolution of, const Real *first, const Real *second, const Lanes *packed, const Real *bias, Real *out),
    gather<true>(n, of, first, second, packed, bias, out))
KERNEL(correlate_weights,
    (Convolution of, Pieces pieces, const Real *first, const Real *second, const Real *cotangent, double *parts),
    correlate(of, pieces, first, second, cotangent, parts))
KERNEL(collect_weights, (int n, Convolution of, Pieces pieces, const double *parts, Real *weights),
    collect(n, of, pieces, parts, weights))
KERNEL(sum_bias, (Pieces pieces, const Real *cotangent, double *parts), sum_channels(pieces, cotangent, parts))
KERNEL(collect_bias, (int channels, Pieces pieces, const double *parts, Real *bias),
    collect_channels(channels, pieces, parts, bias))
