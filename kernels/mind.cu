// Self-similarity descriptors (MIND-SSC): squared differences between the neighbours of a voxel, and descriptors from smoothed ones.
//
//   differences  D_ij(x) = (I(x + o_i) - I(x + o_j))^2 for neighbours o = -o_0, +o_0, -o_1, ... that do not lie opposite each other
//   noise        V(x), the mean of D - min D over the pairs; its sum and that of its square
//   describe     exp(-(D - min D) / (V + e)), in place
//
// Layout: an image [(nz,) ny, nx], descriptors [pairs, (nz,) ny, nx]; the first of a pair slowest. Boundary: linear interpolation, the
// nearest value beyond the border. Offsets are a row for each axis of neighbours.

// The image at a voxel and an offset from it.
template <int D>
__device__ Real beside(const Real *image, const Frame &frame, const int (&index)[D], const Real *offset, Real sign) {
    Real p[D];
    for (int a = 0; a < D; a++) {
        p[a] = (Real)index[a] + sign * offset[a];
    }
    return linear<D>(image, cell_at<D, false>(p, frame.moving), frame).value;
}

template <int D>
__device__ void differences(const Frame &frame, const Weights &offsets, const Real *image, Real *out) {
    const int n = voxels<D>(frame.moving);
    EACH_VOXEL(v, n) {
        int index[D];
        place<D>(v, frame.moving, index);
        Real value[2 * D];
        for (int k = 0; k < 2 * D; k++) {
            value[k] = beside<D>(image, frame, index, offsets.w[k / 2], k % 2 ? (Real)1.0f : (Real)-1.0f);
        }
        int pair = 0;
        for (int a = 0; a < 2 * D; a++) {
            // the one after the opposite neighbour
            for (int b = (a / 2 + 1) * 2; b < 2 * D; b++, pair++) {
                const Real gap = value[a] - value[b];
                out[(Offset)pair * n + v] = gap * gap;
            }
        }
    }
}

// The least difference of a voxel, and its noise.
__device__ Real noise_at(int n, int pairs, const Real *values, int v, Real &low) {
    low = values[v];
    Real sum = low;
    for (int k = 1; k < pairs; k++) {
        const Real value = values[(Offset)k * n + v];
        low = real::min(low, value);
        sum += value;
    }
    return real::max(sum / (Real)pairs - low, 0.0f);
}

__device__ void noise_sums(int n, int pairs, const Real *values, double *parts) {
    double part[2] = {0.0, 0.0};
    EACH_VOXEL(v, n) {
        Real low;
        const double noise = noise_at(n, pairs, values, v, low);
        part[0] += noise;
        part[1] += noise * noise;
    }
    block_sums<2>(part, parts);
}

// `least` stands for the noise where there is none at all; every difference is zero then.
__device__ void describe_all(int n, int pairs, Real floor, Real least, Real *values) {
    EACH_VOXEL(v, n) {
        Real low;
        const Real noise = real::max(noise_at(n, pairs, values, v, low) + floor, least);
        for (int k = 0; k < pairs; k++) {
            Real *value = values + (Offset)k * n + v;
            *value = real::exp((low - *value) / noise);
        }
    }
}

#if RANK != 3
KERNEL(differences_2, (Frame frame, Weights offsets, const Real *image, Real *out),
    differences<2>(frame, offsets, image, out))
#endif
#if RANK != 2
KERNEL(differences_3, (Frame frame, Weights offsets, const Real *image, Real *out),
    differences<3>(frame, offsets, image, out))
#endif
KERNEL(noise, (int n, int pairs, const Real *values, double *parts), noise_sums(n, pairs, values, parts))
KERNEL(describe, (int n, int pairs, Real floor, Real least, Real *values), describe_all(n, pairs, floor, least, values))
