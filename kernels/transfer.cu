// Between a grid and one of half the resolution: see src/ops/transfer.
//
// Layout: fields are [planes, nz, ny, nx], sizes 1 for axes that are not there. A coarse voxel takes two fine ones along every axis
// that is halved, the last one where their number is odd. Boundary: nothing crosses it.

#define NEAR ((Real)0.75)
#define FAR ((Real)0.25)

// Voxels along an axis, with their weights.
template <int N>
struct Shares {
    int at[N];
    Real weight[N];
    int count;
};

template <int N>
__device__ void add(Shares<N> &shares, int voxel, Real weight) {
    shares.at[shares.count] = voxel;
    shares.weight[shares.count] = weight;
    shares.count++;
}

// The coarse voxels that the fine voxel i is interpolated from.
__device__ Shares<2> of_fine(int i, int fine, int coarse) {
    Shares<2> shares;
    shares.count = 0;
    if (fine == coarse) {
        add(shares, i, (Real)1);
        return shares;
    }
    const int near = i / 2;
    int far = i % 2 == 0 ? near - 1 : near + 1;
    if (far < 0 || far == coarse) {
        add(shares, near, (Real)1);
    } else {
        add(shares, near, NEAR);
        add(shares, far, FAR);
    }
    return shares;
}

// The fine voxels that take a share of the coarse voxel c: the transpose.
__device__ Shares<4> of_coarse(int c, int fine, int coarse) {
    Shares<4> shares;
    shares.count = 0;
    if (fine == coarse) {
        add(shares, c, (Real)1);
        return shares;
    }
    if (c > 0) {
        add(shares, 2 * c - 1, FAR);
    }
    add(shares, 2 * c, c == 0 ? (Real)1 : NEAR);
    if (2 * c + 1 < fine) {
        add(shares, 2 * c + 1, c + 1 == coarse ? (Real)1 : NEAR);
    }
    if (2 * c + 2 < fine) {
        add(shares, 2 * c + 2, FAR);
    }
    return shares;
}

// A field by shares along three axes.
template <int N>
__device__ Real weighed(const Real *from, const Size &size, const Shares<N> &x, const Shares<N> &y, const Shares<N> &z) {
    Real total = 0;
    for (int c = 0; c < z.count; c++) {
        for (int b = 0; b < y.count; b++) {
            const Real *row = from + ((Offset)z.at[c] * size.n[1] + y.at[b]) * size.n[0];
            Real sum = 0;
            for (int a = 0; a < x.count; a++) {
                sum = real::fma(row[x.at[a]], x.weight[a], sum);
            }
            total = real::fma(sum, z.weight[c] * y.weight[b], total);
        }
    }
    return total;
}

// Writes the interpolated coarse field to the fine one, or adds it.
__device__ void prolonged(Size fine, Size coarse, int planes, int added, const Real *from, Real *to) {
    const int n = voxels<3>(fine);
    const int m = voxels<3>(coarse);
    EACH_VOXEL(v, n * planes) {
        int index[3];
        place<3>(v % n, fine, index);
        const Shares<2> x = of_fine(index[0], fine.n[0], coarse.n[0]);
        const Shares<2> y = of_fine(index[1], fine.n[1], coarse.n[1]);
        const Shares<2> z = of_fine(index[2], fine.n[2], coarse.n[2]);
        const Real value = weighed<2>(from + (Offset)(v / n) * m, coarse, x, y, z);
        to[v] = added ? to[v] + value : value;
    }
}

__device__ void restricted(Size fine, Size coarse, int planes, const Real *from, Real *to) {
    const int n = voxels<3>(fine);
    const int m = voxels<3>(coarse);
    EACH_VOXEL(v, m * planes) {
        int index[3];
        place<3>(v % m, coarse, index);
        const Shares<4> x = of_coarse(index[0], fine.n[0], coarse.n[0]);
        const Shares<4> y = of_coarse(index[1], fine.n[1], coarse.n[1]);
        const Shares<4> z = of_coarse(index[2], fine.n[2], coarse.n[2]);
        to[v] = weighed<4>(from + (Offset)(v / m) * n, fine, x, y, z);
    }
}

// Sums of packed blocks, or of the outer products of vectors, over the fine voxels of a coarse one.
__device__ void summed(Size fine, Size coarse, int rank, int vector, const Real *from, Real *to) {
    const int n = voxels<3>(fine);
    const int m = voxels<3>(coarse);
    EACH_VOXEL(v, m) {
        int first[3], end[3];
        place<3>(v, coarse, first);
        for (int a = 0; a < 3; a++) {
            const int step = fine.n[a] == coarse.n[a] ? 1 : 2;
            first[a] *= step;
            end[a] = first[a] + step < fine.n[a] ? first[a] + step : fine.n[a];
        }
        int entry = 0;
        for (int i = 0; i < rank; i++) {
            for (int j = i; j < rank; j++) {
                Real total = 0;
                for (int z = first[2]; z < end[2]; z++) {
                    for (int y = first[1]; y < end[1]; y++) {
                        for (int x = first[0]; x < end[0]; x++) {
                            const Real *at = from + ((Offset)z * fine.n[1] + y) * fine.n[0] + x;
                            if (vector) {
                                total = real::fma(at[(Offset)i * n], at[(Offset)j * n], total);
                            } else {
                                total += at[(Offset)entry * n];
                            }
                        }
                    }
                }
                to[(Offset)entry * m + v] = total;
                entry++;
            }
        }
    }
}

KERNEL(prolong, (Size fine, Size coarse, int planes, int added, const Real *from, Real *to),
       prolonged(fine, coarse, planes, added, from, to))
KERNEL(restrict_field, (Size fine, Size coarse, int planes, const Real *from, Real *to),
       restricted(fine, coarse, planes, from, to))
KERNEL(sums, (Size fine, Size coarse, int rank, int vector, const Real *from, Real *to),
       summed(fine, coarse, rank, vector, from, to))
