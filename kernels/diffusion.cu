// Sums of squared first differences of a field, 1/2 sum_ab w_ab sum (D_b u_a)^2, and their gradient.
//
// Layout: u and the gradient [rank, ...]. Boundary: nothing crosses it. The sum is halved by the caller.

template <int D>
__device__ void differences(const Size &size, const Weights &weights, const Real *u, double *parts) {
    double part[1] = {0.0};
    EACH_VOXEL(v, voxels<D>(size)) {
        part[0] += (double)near_at<D>(u, size, v, weights).energy;
    }
    block_sums<1>(part, parts);
}

template <int D>
__device__ void add_force(const Size &size, const Weights &weights, const Real *u, Real *out) {
    const int n = voxels<D>(size);
    EACH_VOXEL(v, n) {
        const Near<D> near = near_at<D>(u, size, v, weights);
        for (int a = 0; a < D; a++) {
            out[(Offset)a * n + v] += near.force[a];
        }
    }
}

#define DIFFUSION(D)                                                                                                \
    KERNEL(differences_##D, (Size size, Weights weights, const Real *u, double *parts),                            \
        differences<D>(size, weights, u, parts))                                                                    \
    KERNEL(add_force_##D, (Size size, Weights weights, const Real *u, Real *out),                                 \
        add_force<D>(size, weights, u, out))

#if RANK != 3
DIFFUSION(2)
#endif
#if RANK != 2
DIFFUSION(3)
#endif
