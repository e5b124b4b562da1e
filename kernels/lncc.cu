// The squared local correlation of two images, summed over the voxels of a volume, and its gradients: sums over boxes, an axis after
// the other, in doubles.
//
//   moments    a, b, aa, ab and bb over the windows along x
//   across     images over the windows along x or y
//   correlate  sum_x ab^2 / (aa bb + 1e-5) from moments over x and y: their means over the box are made along z here, and ab, aa and
//              bb are means of products less products of means. Leaves coefficients of gradients: with q = ab / (aa bb + 1e-5) and N
//              voxels in the box
//                  c0 = 2 q / N, c1 = -c0 q bb, c2 = -(c0 b + c1 a), c3 = -c0 q aa, c4 = -(c0 a + c3 b)
//              of which the gradient by a takes c0 to c2
//   mix        from coefficients over x and y, C over the box: factor (b C0 + a C1 + C2) by a, factor (a C0 + b C3 + C4) by b
//
// Layout: a, b and gradients [nz, ny, nx], one plane in two dimensions; moments and coefficients [image, nz, ny, nx]. Boundary: a box
// is what lies within the volume of it.

// Voxels of a volume and how far a box reaches to either side, fewer.
struct Boxes {
    Size size, radius;
};

// The part of a box that lies along an axis, from `first` to `last` steps of `stride` elements off its middle.
struct Window {
    int first, last;
    Offset stride;
};

template <int AXIS>
__device__ Window window_at(const Boxes &boxes, int v) {
    int index[3];
    place<3>(v, boxes.size, index);
    const int before = index[AXIS], behind = boxes.size.n[AXIS] - 1 - before, most = boxes.radius.n[AXIS];
    Window out;
    out.first = before < most ? -before : -most;
    out.last = behind < most ? behind : most;
    out.stride = 1;
    for (int a = 0; a < AXIS; a++) {
        out.stride *= boxes.size.n[a];
    }
    return out;
}

__device__ double over(const Window &window, const double *middle) {
    double sum = 0.0;
    for (int i = window.first; i <= window.last; i++) {
        sum += middle[i * window.stride];
    }
    return sum;
}

template <int AXIS>
__device__ double voxels_of(const Boxes &boxes, int v) {
    const Window window = window_at<AXIS>(boxes, v);
    return (double)(window.last - window.first + 1);
}

__device__ void moments(const Boxes &boxes, const Real *first, const Real *second, double *out) {
    const int n = voxels<3>(boxes.size);
    EACH_VOXEL(v, n) {
        const Window window = window_at<0>(boxes, v);
        double sum[5] = {0.0, 0.0, 0.0, 0.0, 0.0};
        for (int i = v + window.first; i <= v + window.last; i++) {
            const double a = (double)first[i], b = (double)second[i];
            sum[0] += a;
            sum[1] += b;
            sum[2] += a * a;
            sum[3] += a * b;
            sum[4] += b * b;
        }
        for (int k = 0; k < 5; k++) {
            out[(Offset)k * n + v] = sum[k];
        }
    }
}

template <int AXIS>
__device__ void across(const Boxes &boxes, int images, const double *x, double *out) {
    const int n = voxels<3>(boxes.size);
    EACH_VOXEL(v, n) {
        const Window window = window_at<AXIS>(boxes, v);
        for (int k = 0; k < images; k++) {
            out[(Offset)k * n + v] = over(window, x + (Offset)k * n + v);
        }
    }
}

// IMAGES: of coefficients, 0, 3 or 5.
template <int IMAGES>
__device__ void correlate(const Boxes &boxes, const double *moments, double *coefficients, double *parts) {
    const int n = voxels<3>(boxes.size);
    double part[1] = {0.0};
    EACH_VOXEL(v, n) {
        const Window window = window_at<2>(boxes, v);
        const double share = 1.0 / (voxels_of<0>(boxes, v) * voxels_of<1>(boxes, v) * voxels_of<2>(boxes, v));
        double mean[5];
        for (int k = 0; k < 5; k++) {
            mean[k] = over(window, moments + (Offset)k * n + v) * share;
        }
        const double a = mean[0], b = mean[1];
        const double aa = fmax(mean[2] - a * a, 0.0), ab = mean[3] - a * b, bb = fmax(mean[4] - b * b, 0.0);
        const double ratio = ab / (aa * bb + 1e-5);
        part[0] += ab * ratio;
        const double both = 2.0 * ratio * share, of_a = -both * ratio * bb, of_b = -both * ratio * aa;
        const double all[5] = {both, of_a, -(both * b + of_a * a), of_b, -(both * a + of_b * b)};
        for (int k = 0; k < IMAGES; k++) {
            coefficients[(Offset)k * n + v] = all[k];
        }
    }
    block_sums<1>(part, parts);
}

// IMAGES: as above, for gradients by the first image or by both.
template <int IMAGES>
__device__ void mix(const Boxes &boxes, double factor, const Real *first, const Real *second, const double *coefficients,
                    Real *of_first, Real *of_second) {
    const int n = voxels<3>(boxes.size);
    EACH_VOXEL(v, n) {
        const Window window = window_at<2>(boxes, v);
        double sum[IMAGES];
        for (int k = 0; k < IMAGES; k++) {
            sum[k] = over(window, coefficients + (Offset)k * n + v);
        }
        const double a = (double)first[v], b = (double)second[v];
        of_first[v] = (Real)(factor * (b * sum[0] + a * sum[1] + sum[2]));
        if (IMAGES == 5) {
            of_second[v] = (Real)(factor * (a * sum[0] + b * sum[IMAGES - 2] + sum[IMAGES - 1]));
        }
    }
}

KERNEL(moments_x, (Boxes boxes, const Real *first, const Real *second, double *out), moments(boxes, first, second, out))
KERNEL(across_x, (Boxes boxes, int images, const double *x, double *out), across<0>(boxes, images, x, out))
KERNEL(across_y, (Boxes boxes, int images, const double *x, double *out), across<1>(boxes, images, x, out))

#define CORRELATE(name, IMAGES)                                                                                     \
    KERNEL(correlate_##name, (Boxes boxes, const double *moments, double *coefficients, double *parts),             \
        correlate<IMAGES>(boxes, moments, coefficients, parts))

#define MIX(name, IMAGES)                                                                                           \
    KERNEL(mix_##name,                                                                                              \
        (Boxes boxes, double factor, const Real *first, const Real *second, const double *coefficients,           \
         Real *of_first, Real *of_second),                                                                        \
        mix<IMAGES>(boxes, factor, first, second, coefficients, of_first, of_second))

CORRELATE(alone, 0)
CORRELATE(for_first, 3)
CORRELATE(for_both, 5)
MIX(for_first, 3)
MIX(for_both, 5)
