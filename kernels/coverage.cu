// Where a displacement carries fixed voxels into the moving grid: 1 where map(x + u(x)) lies within half a voxel of it, 0
// elsewhere, and the number of ones.
//
// Layout: u [rank, ...] in fixed voxels or none, out [...].

template <int D>
__device__ void coverage(const Frame &frame, const Real *u, Real *out, double *parts) {
    const int n = voxels<D>(frame.fixed);
    double part[1] = {0.0};
    EACH_VOXEL(v, n) {
        const Real inside = cell_of<D, false>(frame, u, n, v).near ? 1.0f : 0.0f;
        out[v] = inside;
        part[0] += (double)inside;
    }
    block_sums<1>(part, parts);
}

#if RANK != 3
KERNEL(coverage_2, (Frame frame, const Real *u, Real *out, double *parts), coverage<2>(frame, u, out, parts))
#endif
#if RANK != 2
KERNEL(coverage_3, (Frame frame, const Real *u, Real *out, double *parts), coverage<3>(frame, u, out, parts))
#endif
