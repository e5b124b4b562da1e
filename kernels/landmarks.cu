// Corresponding points as a term of an energy: see src/ops/landmarks.
//
// Layout: the taps of point i are starts[i] to starts[i + 1], each a voxel with its share in the displacement there; `matrices` has D * D
// doubles a tap, which carry steps to displacements, or is none. The voxels that have taps are listed once each, those of voxel j
// being order[lists[j]] to order[lists[j + 1]], by ascending points. Vectors of points are D doubles.
// Arithmetic: doubles, whatever the precision of the fields.

struct Metric {
    double m[3][3];
};

// A tap's matrices are its share times I + Du, by central differences, one-sided at the border.
template <int D>
__device__ void carry(Size size, int taps, const unsigned *voxel, const double *share, const Real *u, double *matrices) {
    const int n = voxels<D>(size);
    EACH_VOXEL(k, taps) {
        int index[D];
        place<D>(voxel[k], size, index);
        for (int a = 0; a < D; a++) {
            const Real *here = u + (Offset)a * n + voxel[k];
            int stride = 1;
            for (int b = 0; b < D; b++) {
                const bool first = index[b] == 0, last = index[b] == size.n[b] - 1;
                const double difference = (double)here[last ? 0 : stride] - (double)here[first ? 0 : -stride];
                const double slope = (a == b ? 1.0 : 0.0) + (first || last ? 1.0 : 0.5) * difference;
                matrices[(Offset)k * D * D + a * D + b] = share[k] * slope;
                stride *= size.n[b];
            }
        }
    }
}

// The field at the points; blocks take points, threads their taps.
template <int D>
__device__ void sample(Size size, int points, const unsigned *starts, const unsigned *voxel, const double *share,
                       const double *matrices, const Real *field, double *at_points) {
    const int n = voxels<D>(size);
    for (int i = blockIdx.x; i < points; i += gridDim.x) {
        double part[D];
        for (int a = 0; a < D; a++) {
            part[a] = 0.0;
        }
        for (unsigned k = starts[i] + threadIdx.x; k < starts[i + 1]; k += THREADS) {
            for (int b = 0; b < D; b++) {
                const double value = (double)field[(Offset)b * n + voxel[k]];
                if (matrices == 0) {
                    part[b] += share[k] * value;
                    continue;
                }
                for (int a = 0; a < D; a++) {
                    part[a] += matrices[(Offset)k * D * D + a * D + b] * value;
                }
            }
        }
        // leaves the sums at place i
        block_sums<D>(part, at_points + (Offset)(i - blockIdx.x) * D);
        __syncthreads();
    }
}

// Vectors e of the points, plus `apart` where it is given, to forces Q e, in place; sums e' Q e.
template <int D>
__device__ void forces(int points, Metric metric, const double *apart, double *at_points, double *out) {
    double part[1] = {0.0};
    EACH_VOXEL(i, points) {
        double e[D];
        for (int a = 0; a < D; a++) {
            e[a] = at_points[(Offset)i * D + a] + (apart == 0 ? 0.0 : apart[(Offset)i * D + a]);
        }
        for (int a = 0; a < D; a++) {
            double force = 0.0;
            for (int b = 0; b < D; b++) {
                force += metric.m[a][b] * e[b];
            }
            part[0] += e[a] * force;
            at_points[(Offset)i * D + a] = force;
        }
    }
    block_sums<1>(part, out);
}

// The transpose of `sample`, times a factor, added to a field.
template <int D>
__device__ void spread(Size size, int count, const unsigned *touched, const unsigned *lists, const unsigned *order,
                       const unsigned *owner, const double *share, const double *matrices, const double *at_points,
                       double factor, Real *field) {
    const int n = voxels<D>(size);
    EACH_VOXEL(j, count) {
        double sum[D];
        for (int b = 0; b < D; b++) {
            sum[b] = 0.0;
        }
        for (unsigned q = lists[j]; q < lists[j + 1]; q++) {
            const unsigned k = order[q];
            const double *force = at_points + (Offset)owner[k] * D;
            for (int b = 0; b < D; b++) {
                if (matrices == 0) {
                    sum[b] += share[k] * force[b];
                    continue;
                }
                for (int a = 0; a < D; a++) {
                    sum[b] += matrices[(Offset)k * D * D + a * D + b] * force[a];
                }
            }
        }
        for (int b = 0; b < D; b++) {
            Real *to = field + (Offset)b * n + touched[j];
            *to = (Real)((double)*to + factor * sum[b]);
        }
    }
}

// The diagonal blocks of the curvature, times a factor, added to packed blocks.
template <int D>
__device__ void diagonal(Size size, int count, const unsigned *touched, const unsigned *lists, const unsigned *order,
                         const double *share, const double *matrices, Metric metric, double factor, Real *blocks) {
    const int n = voxels<D>(size);
    EACH_VOXEL(j, count) {
        double sum[D][D];
        for (int a = 0; a < D; a++) {
            for (int b = a; b < D; b++) {
                sum[a][b] = 0.0;
            }
        }
        for (unsigned q = lists[j]; q < lists[j + 1]; q++) {
            const unsigned k = order[q];
            double m[D][D];
            for (int a = 0; a < D; a++) {
                for (int b = 0; b < D; b++) {
                    m[a][b] = matrices == 0 ? (a == b ? share[k] : 0.0) : matrices[(Offset)k * D * D + a * D + b];
                }
            }
            for (int b = 0; b < D; b++) {
                for (int c = 0; c < D; c++) {
                    double turned = 0.0;
                    for (int d = 0; d < D; d++) {
                        turned += metric.m[c][d] * m[d][b];
                    }
                    for (int a = 0; a <= b; a++) {
                        sum[a][b] += m[c][a] * turned;
                    }
                }
            }
        }
        for (int a = 0; a < D; a++) {
            for (int b = a; b < D; b++) {
                Real *to = blocks + (Offset)packed<D>(a, b) * n + touched[j];
                *to = (Real)((double)*to + factor * sum[a][b]);
            }
        }
    }
}

#define LANDMARKS(D)                                                                                                          \
    KERNEL(carry_##D,                                                                                                   \
           (Size size, int taps, const unsigned *voxel, const double *share, const Real *u, double *matrices),          \
           carry<D>(size, taps, voxel, share, u, matrices))                                                             \
    KERNEL(sample_##D,                                                                                                  \
           (Size size, int points, const unsigned *starts, const unsigned *voxel, const double *share,                  \
            const double *matrices, const Real *field, double *at_points),                                              \
           sample<D>(size, points, starts, voxel, share, matrices, field, at_points))                                   \
    KERNEL(forces_##D, (int points, Metric metric, const double *apart, double *at_points, double *out),                \
           forces<D>(points, metric, apart, at_points, out))                                                            \
    KERNEL(spread_##D,                                                                                                  \
           (Size size, int count, const unsigned *touched, const unsigned *lists, const unsigned *order,                \
            const unsigned *owner, const double *share, const double *matrices, const double *at_points,                \
            double factor, Real *field),                                                                                \
           spread<D>(size, count, touched, lists, order, owner, share, matrices, at_points, factor, field))             \
    KERNEL(diagonal_##D,                                                                                                \
           (Size size, int count, const unsigned *touched, const unsigned *lists, const unsigned *order,                \
            const double *share, const double *matrices, Metric metric, double factor, Real *blocks),                   \
           diagonal<D>(size, count, touched, lists, order, share, matrices, metric, factor, blocks))

#if RANK != 3
LANDMARKS(2)
#endif
#if RANK != 2
LANDMARKS(3)
#endif
