// Sums and products of whole tensors.
//
//   combine   y = a x + b y, in place
//   scale     y = a x, between and within the precision and half of it
//   fill      y = a
//   dot       x' y, summed in doubles
//
// Layout: n elements each, in any shape. There is no boundary.

template <class S>
__device__ void combine(int n, Real a, const S *x, Real b, S *y) {
    EACH_VOXEL(i, n) {
        store(&y[i], real::fma(load(&x[i]), a, load(&y[i]) * b));
    }
}

template <class S, class T>
__device__ void scale(int n, Real a, const S *x, T *y) {
    EACH_VOXEL(i, n) {
        store(&y[i], load(&x[i]) * a);
    }
}

template <class S>
__device__ void fill(int n, Real a, S *y) {
    EACH_VOXEL(i, n) {
        store(&y[i], a);
    }
}

template <class S>
__device__ void dot(int n, const S *x, const S *y, double *parts) {
    double part[1] = {0.0};
    EACH_VOXEL(i, n) {
        part[0] += (double)load(&x[i]) * (double)load(&y[i]);
    }
    block_sums<1>(part, parts);
}

#define VECTOR(storage, S)                                                                                          \
    KERNEL(combine_##storage, (int n, Real a, const S *x, Real b, S *y), combine<S>(n, a, x, b, y))               \
    KERNEL(fill_##storage, (int n, Real a, S *y), fill<S>(n, a, y))                                                \
    KERNEL(dot_##storage, (int n, const S *x, const S *y, double *parts), dot<S>(n, x, y, parts))                   \
    KERNEL(scale_##storage##_to_full, (int n, Real a, const S *x, Real *y), scale<S, Real>(n, a, x, y))          \
    KERNEL(scale_##storage##_to_half, (int n, Real a, const S *x, Half *y), scale<S, Half>(n, a, x, y))

VECTOR(full, Real)
VECTOR(half, Half)
