// The feature-SSD energy on the way back to its data, for one channel: with d = q . grad_u M(x + u) along the cotangent q of its
// gradient, r = M(x + u) - F, the weight a of the channel and the mask m,
//
//   weigh   m a d in place of d, m a r in place of M(x + u), a r d taken off the cotangent of the mask; the sum of m r d
//
// Layout: n voxels of the fixed grid each, in any shape. There is no boundary.

__device__ void weighed(int n, float a, const float *fixed, const float *mask, float *slope, float *value, float *of_mask,
                        double *parts) {
    double part[1] = {0.0};
    EACH_VOXEL(v, n) {
        const float m = mask ? mask[v] : 1.0f;
        const float d = slope[v], r = value[v] - fixed[v];
        part[0] += (double)(m * (r * d));
        of_mask[v] -= a * (r * d);
        slope[v] = m * a * d;
        value[v] = m * a * r;
    }
    block_sums<1>(part, parts);
}

KERNEL(weigh,
    (int n, float a, const float *fixed, const float *mask, float *slope, float *value, float *of_mask, double *parts),
    weighed(n, a, fixed, mask, slope, value, of_mask, parts))
