// An image moved by a displacement, out_c(x) = I_c(map(x + u(x))), and its derivatives with respect to the displacement.
//
//   values    the moved image; where not `continued`, 0 farther than half a voxel beyond the moving grid
//   along     its derivative along a step q of the displacement, q . grad_u I_c
//   gradient  the gradient of sum(cotangent * out) with respect to the displacement
//
// Layout: image [channels, ...] on the moving grid, or its B-spline coefficients; the rest on the fixed grid, fields
// [rank, ...], images [channels, ...]. Boundary: as in sample.cuh.

template <int D, bool CUBIC>
__device__ void values(const Frame &frame, int channels, int continued, const Real *image, const Real *u, Real *out) {
    const int n = voxels<D>(frame.fixed);
    const Offset m = voxels<D>(frame.moving);
    EACH_VOXEL(v, n) {
        const Cell<D> cell = cell_of<D, CUBIC>(frame, u, n, v);
        for (int c = 0; c < channels; c++) {
            const Real value = sampled<D, CUBIC>(image + c * m, cell, frame).value;
            out[(Offset)c * n + v] = continued || cell.near ? value : 0.0f;
        }
    }
}

template <int D, bool CUBIC>
__device__ void along(const Frame &frame, int channels, const Real *image, const Real *u, const Real *step,
                      Real *out) {
    const int n = voxels<D>(frame.fixed);
    const Offset m = voxels<D>(frame.moving);
    EACH_VOXEL(v, n) {
        const Cell<D> cell = cell_of<D, CUBIC>(frame, u, n, v);
        for (int c = 0; c < channels; c++) {
            Real j[D], sum = 0.0f;
            pull_gradient<D>(frame, sampled<D, CUBIC>(image + c * m, cell, frame).slope, j);
            for (int a = 0; a < D; a++) {
                sum = real::fma(step[(Offset)a * n + v], j[a], sum);
            }
            out[(Offset)c * n + v] = sum;
        }
    }
}

template <int D, bool CUBIC>
__device__ void gradient(const Frame &frame, int channels, const Real *image, const Real *u, const Real *cotangent,
                         Real *out) {
    const int n = voxels<D>(frame.fixed);
    const Offset m = voxels<D>(frame.moving);
    EACH_VOXEL(v, n) {
        const Cell<D> cell = cell_of<D, CUBIC>(frame, u, n, v);
        Real sum[D], j[D];
        for (int a = 0; a < D; a++) {
            sum[a] = 0.0f;
        }
        for (int c = 0; c < channels; c++) {
            const Sampled<D> at = sampled<D, CUBIC>(image + c * m, cell, frame);
            for (int a = 0; a < D; a++) {
                sum[a] = real::fma(cotangent[(Offset)c * n + v], at.slope[a], sum[a]);
            }
        }
        pull_gradient<D>(frame, sum, j);
        for (int a = 0; a < D; a++) {
            out[(Offset)a * n + v] = j[a];
        }
    }
}

#define WARP(name, D, CUBIC)                                                                                        \
    KERNEL(values_##name,                                                                                           \
        (Frame frame, int channels, int continued, const Real *image, const Real *u, Real *out),                 \
        values<D, CUBIC>(frame, channels, continued, image, u, out))                                                \
    KERNEL(along_##name,                                                                                            \
        (Frame frame, int channels, const Real *image, const Real *u, const Real *step, Real *out),             \
        along<D, CUBIC>(frame, channels, image, u, step, out))                                                      \
    KERNEL(gradient_##name,                                                                                         \
        (Frame frame, int channels, const Real *image, const Real *u, const Real *cotangent, Real *out),        \
        gradient<D, CUBIC>(frame, channels, image, u, cotangent, out))

#if RANK != 3
WARP(linear_2, 2, false)
WARP(cubic_2, 2, true)
#endif
#if RANK != 2
WARP(linear_3, 3, false)
WARP(cubic_3, 3, true)
#endif
