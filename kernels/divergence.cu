// The divergence of a field at the centres of cells, and what its squares pull at.
//
//   divergence  d = sum_a D_a u_a of each cell, where the derivative is the mean of the forward differences on the cell's edges
//   spread      out += weight D' d
//
// Layout: u and out [rank, ...], d [...], at the first voxel of each cell. Boundary: cells that would leave the grid hold zero.

// The elements from the first voxel of a cell to a corner of it, of which bit a stands for axis a.
template <int D>
__device__ int corner_of(const Size &size, int corner) {
    int at = 0, stride = 1;
    for (int a = 0; a < D; a++) {
        at += corner >> a & 1 ? stride : 0;
        stride *= size.n[a];
    }
    return at;
}

template <int D>
__device__ void divergence(const Size &size, const Real *u, Real *out) {
    const int n = voxels<D>(size);
    EACH_VOXEL(v, n) {
        int index[D];
        place<D>(v, size, index);
        bool inside = true;
        for (int a = 0; a < D; a++) {
            inside = inside && index[a] + 1 < size.n[a];
        }
        Real sum = 0.0f;
        if (inside) {
            for (int corner = 0; corner < 1 << D; corner++) {
                const int at = v + corner_of<D>(size, corner);
                for (int a = 0; a < D; a++) {
                    const Real value = u[(Offset)a * n + at];
                    sum += corner >> a & 1 ? value : -value;
                }
            }
        }
        out[v] = sum / (Real)(1 << (D - 1));
    }
}

template <int D>
__device__ void spread(const Size &size, Real weight, const Real *d, Real *out) {
    const int n = voxels<D>(size);
    EACH_VOXEL(v, n) {
        int index[D];
        place<D>(v, size, index);
        Real sum[D];
        for (int a = 0; a < D; a++) {
            sum[a] = 0.0f;
        }
        for (int corner = 0; corner < 1 << D; corner++) {
            bool inside = true;
            for (int a = 0; a < D; a++) {
                inside = inside && index[a] >= (corner >> a & 1);
            }
            if (!inside) {
                continue;
            }
            const Real value = d[v - corner_of<D>(size, corner)];
            for (int a = 0; a < D; a++) {
                sum[a] += corner >> a & 1 ? value : -value;
            }
        }
        const Real share = weight / (Real)(1 << (D - 1));
        for (int a = 0; a < D; a++) {
            Real *at = out + (Offset)a * n + v;
            *at = real::fma(share, sum[a], *at);
        }
    }
}

#define DIVERGENCE(D)                                                                                               \
    KERNEL(divergence_##D, (Size size, const Real *u, Real *out), divergence<D>(size, u, out))                      \
    KERNEL(spread_##D, (Size size, Real weight, const Real *d, Real *out), spread<D>(size, weight, d, out))

#if RANK != 3
DIVERGENCE(2)
#endif
#if RANK != 2
DIVERGENCE(3)
#endif
