// Squared gradients of a feature map by forward differences, all channels: the sum over the voxels where they exceed `least`,
// and how many these are.
//
// Layout: features [channels, ...]. Boundary: nothing crosses it. Squares and sums are in doubles.

template <int D>
__device__ void squared_gradient(const Size &size, int channels, double least, const Real *features, double *parts) {
    const int n = voxels<D>(size);
    double part[2] = {0.0, 0.0};
    EACH_VOXEL(v, n) {
        int index[D];
        place<D>(v, size, index);
        double square = 0.0;
        for (int c = 0; c < channels; c++) {
            const Real *here = features + (Offset)c * n + v;
            int stride = 1;
            for (int b = 0; b < D; b++) {
                const Real ahead = index[b] == size.n[b] - 1 ? here[0] : here[stride];
                const double slope = (double)ahead - (double)here[0];
                square += slope * slope;
                stride *= size.n[b];
            }
        }
        if (square > least) {
            part[0] += square;
            part[1] += 1.0;
        }
    }
    block_sums<2>(part, parts);
}

#define GRADIENT_ENERGY(D)                                                                                          \
    KERNEL(squared_gradient_##D, (Size size, int channels, double least, const Real *features, double *parts),     \
        squared_gradient<D>(size, channels, least, features, parts))

#if RANK != 3
GRADIENT_ENERGY(2)
#endif
#if RANK != 2
GRADIENT_ENERGY(3)
#endif
