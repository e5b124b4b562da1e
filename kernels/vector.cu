// Sums and products of whole tensors.
//
//   combine   y = a x + b y, in place
//   scale     y = a x
//   fill      y = a
//   dot       x' y, summed in doubles
//
// Layout: n elements each, in any shape. There is no boundary.

KERNEL(combine, (int n, float a, const float *x, float b, float *y),
    EACH_VOXEL(i, n) y[i] = fmaf(x[i], a, y[i] * b))

KERNEL(scale, (int n, float a, const float *x, float *y),
    EACH_VOXEL(i, n) y[i] = x[i] * a)

KERNEL(fill, (int n, float a, float *y),
    EACH_VOXEL(i, n) y[i] = a)

__device__ void dot_of(int n, const float *x, const float *y, double *parts) {
    double part[1] = {0.0};
    EACH_VOXEL(i, n) {
        part[0] += (double)x[i] * (double)y[i];
    }
    block_sums<1>(part, parts);
}

KERNEL(dot, (int n, const float *x, const float *y, double *parts), dot_of(n, x, y, parts))
