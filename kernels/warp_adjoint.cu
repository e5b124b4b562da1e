// The adjoint of the warp with respect to the image, for one channel: every fixed voxel hands shares to the moving voxels that
// I(map(x + u(x))) is made of.
//
//   share    g(x) by the weights of the interpolation; beside it, where there is a step q of the displacement, r(x) by the
//            derivative of the weights along q
//   mass     sum_x |g| + |r| sum_a |(B q)_a|, more than any moving voxel can get
//   scatter  sums of shares, in whole units
//   settle   the sums times the size of a unit; leaves zeros behind
//
// Additions of integers may come in any order: the same bits in every run, without a list of who hands to whom.
//
// Layout: g and r [...], u and q [rank, ...] on the fixed grid; sums (of 64 bits, zeros before, negative ones by their two's
// complement) and the result [...] on the moving grid, for cubic interpolation that of the B-spline coefficients. Boundary: as in
// sample.cuh.

template <int D>
__device__ void mass(const Frame &frame, const Real *g, const Real *q, const Real *r, double *parts) {
    const int n = voxels<D>(frame.fixed);
    double part[1] = {0.0};
    EACH_VOXEL(v, n) {
        part[0] += (double)real::abs(g[v]);
        if (q) {
            Real step[D];
            push_step<D>(frame, q, n, v, step);
            for (int a = 0; a < D; a++) {
                part[0] += (double)real::abs(r[v]) * (double)real::abs(step[a]);
            }
        }
    }
    block_sums<1>(part, parts);
}

template <int D, bool CUBIC>
__device__ void scatter(const Frame &frame, const Real *u, const Real *g, const Real *q, const Real *r, double units,
                        unsigned long long *sums) {
    const int n = voxels<D>(frame.fixed);
    const int reach = CUBIC ? 4 : 2;
    EACH_VOXEL(v, n) {
        const Cell<D> cell = cell_of<D, CUBIC>(frame, u, n, v);
        const double of_weight = (double)g[v] * units, of_slope = q ? (double)r[v] * units : 0.0;
        Real step[D];
        Taps axis[D];
        for (int a = 0; a < D; a++) {
            axis[a] = taps<D, CUBIC>(cell, a, frame);
            step[a] = 0.0f;
        }
        if (q) {
            push_step<D>(frame, q, n, v, step);
        }
        for (int kz = 0; kz < (D == 3 ? reach : 1); kz++) {
            const Real wz = D == 3 ? axis[D - 1].weight[kz] : 1.0f;
            const Real sz = D == 3 ? axis[D - 1].slope[kz] * step[D - 1] : 0.0f;
            for (int ky = 0; ky < reach; ky++) {
                const Real wy = axis[1].weight[ky], sy = axis[1].slope[ky] * step[1];
                const Real weight = wy * wz, slope = real::fma(sy, wz, wy * sz);
                const Offset line = axis[1].at[ky] + (D == 3 ? axis[D - 1].at[kz] : 0);
                for (int kx = 0; kx < reach; kx++) {
                    const Real wx = axis[0].weight[kx], sx = axis[0].slope[kx] * step[0];
                    const double share = of_weight * (double)(weight * wx) + of_slope * (double)real::fma(slope, wx, weight * sx);
                    atomicAdd(&sums[line + axis[0].at[kx]], (unsigned long long)llrint(share));
                }
            }
        }
    }
}

KERNEL(settle, (int n, double unit, unsigned long long *sums, Real *out),
    EACH_VOXEL(v, n) {
        out[v] = (Real)((double)(long long)sums[v] * unit);
        sums[v] = 0;
    })

#define ADJOINT(D)                                                                                                  \
    KERNEL(mass_##D, (Frame frame, const Real *g, const Real *q, const Real *r, double *parts),                  \
        mass<D>(frame, g, q, r, parts))                                                                             \
    KERNEL(scatter_linear_##D,                                                                                      \
        (Frame frame, const Real *u, const Real *g, const Real *q, const Real *r, double units,                 \
         unsigned long long *sums),                                                                                 \
        scatter<D, false>(frame, u, g, q, r, units, sums))                                                          \
    KERNEL(scatter_cubic_##D,                                                                                       \
        (Frame frame, const Real *u, const Real *g, const Real *q, const Real *r, double units,                 \
         unsigned long long *sums),                                                                                 \
        scatter<D, true>(frame, u, g, q, r, units, sums))

#if RANK != 3
ADJOINT(2)
#endif
#if RANK != 2
ADJOINT(3)
#endif
