// The feature-SSD energy on the way back to its data, for one channel: with d = q . grad_u M(x + u) along the cotangent q of its
// gradient, r = M(x + u) - F, the weight a of the channel and the mask m,
//
//   weigh   m a d in place of d, m a r in place of M(x + u), a r d taken off the cotangent of the mask; the sum of m r d
//
// Layout: n voxels of the fixed grid each, in any shape. There is no boundary.

__device__ void weighed(int n, Real a, const Real *fixed, const Real *mask, Real *slope, Real *value, Real *of_mask,
                        double *parts) {
    double part[1] = {0.0};
    EACH_VOXEL(v, n) {
        const Real m = mask ? mask[v] : 1.0f;
        const Real d = slope[v], r = value[v] - fixed[v];
        part[0] += (double)(m * (r * d));
        of_mask[v] -= a * (r * d);
        slope[v] = m * a * d;
        value[v] = m * a * r;
    }
    block_sums<1>(part, parts);
}

KERNEL(weigh,
    (int n, Real a, const Real *fixed, const Real *mask, Real *slope, Real *value, Real *of_mask, double *parts),
    weighed(n, a, fixed, mask, slope, value, of_mask, parts))
