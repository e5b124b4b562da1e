// The Gauss-Newton system A = blocks + differences + shift, matrix-free.
//
//   product       q = A p, and p' A p
//   precondition  z = M^-1 r with M the block diagonal of A, and r' z, r' r
//   advance       x += alpha p, r -= alpha q, then q = M^-1 r, and r' q, r' r
//   bound         changes packed blocks B so that every B + diag(c) has eigenvalues of at least `least`: smaller ones are
//                 mirrored at zero, then raised to it; blocks that have them already keep their values
//
// M takes the diagonal of the differences as inside the grid; a block of M that is indefinite is replaced by the sums of
// the absolute values of its rows. Sums are in doubles.
//
// Layout: vectors [rank, ...] and blocks of one storage S; blocks [rank, ...] for the outer product of one vector a voxel (VECTOR), else the packed
// entries xx, xy, (xz,) yy, (yz, zz). Boundary: no difference crosses it.

template <class S, int D, bool VECTOR>
__device__ void product(const Size &size, const Weights &weights, float shift, const S *blocks, const S *p, S *q,
                        double *parts) {
    const int n = voxels<D>(size);
    double part[1] = {0.0};
    EACH_VOXEL(v, n) {
        int index[D];
        place<D>(v, size, index);
        float here[D], out[D];
        for (int a = 0; a < D; a++) {
            const S *at = p + (Offset)a * n + v;
            here[a] = load(at);
            float near = here[a] * shift;
            int stride = 1;
            for (int b = 0; b < D; b++) {
                const float back = index[b] == 0 ? here[a] : load(at - stride);
                const float ahead = index[b] == size.n[b] - 1 ? here[a] : load(at + stride);
                near = fmaf((here[a] + here[a]) - (back + ahead), weights.w[a][b], near);
                stride *= size.n[b];
            }
            out[a] = near;
        }
        if (VECTOR) {
            float j[D], along = 0.0f;
            for (int a = 0; a < D; a++) {
                j[a] = load(&blocks[(Offset)a * n + v]);
                along = fmaf(j[a], here[a], along);
            }
            for (int a = 0; a < D; a++) {
                out[a] = fmaf(j[a], along, out[a]);
            }
        } else {
            for (int a = 0; a < D; a++) {
                for (int b = a; b < D; b++) {
                    const float entry = load(&blocks[(Offset)packed<D>(a, b) * n + v]);
                    out[a] = fmaf(entry, here[b], out[a]);
                    if (a != b) {
                        out[b] = fmaf(entry, here[a], out[b]);
                    }
                }
            }
        }
        float form = 0.0f;
        for (int a = 0; a < D; a++) {
            form = fmaf(here[a], out[a], form);
            store(&q[(Offset)a * n + v], out[a]);
        }
        part[0] += (double)form;
    }
    block_sums<1>(part, parts);
}

// (j j' + C)^-1 r with a diagonal C (Sherman-Morrison).
template <int D>
__device__ void solve_vector(const float *j, const Vector &c, const float (&r)[D], float (&z)[D]) {
    float scaled[D], top = 0.0f, bottom = 1.0f;
    for (int a = 0; a < D; a++) {
        const float inverse = 1.0f / c.v[a];
        scaled[a] = inverse * j[a];
        z[a] = inverse * r[a];
        top = fmaf(j[a], z[a], top);
        bottom = fmaf(j[a], scaled[a], bottom);
    }
    const float factor = top / bottom;
    for (int a = 0; a < D; a++) {
        z[a] -= scaled[a] * factor;
    }
}

// A pivot that is negative by more than this share of its diagonal entry is no rounding.
#define ROUNDING 1e-2f

// (B + C)^-1 r for a packed symmetric block, by elimination: L D L'.
template <int D>
__device__ void solve_packed(const float *entry, const Vector &c, const float (&r)[D], float (&z)[D]) {
    const float xx = entry[0] + c.v[0], xy = entry[1];
    const float x = 1.0f / fmaxf(xx, c.v[0]);
    const float lxy = xy * x;
    float sure = xx - 0.5f * c.v[0];
    float sum[D];
    if (D == 2) {
        const float yy = entry[2] + c.v[1];
        const float rest = yy - lxy * xy;
        sure = fminf(sure, fmaf(ROUNDING, yy, rest));
        z[1] = (r[1] - lxy * r[0]) / fmaxf(rest, c.v[1]);
        z[0] = r[0] * x - lxy * z[1];
        sum[0] = fabsf(xx) + fabsf(xy);
        sum[1] = fabsf(yy) + fabsf(xy);
    } else {
        const float xz = entry[2], yz = entry[4];
        const float yy = entry[3] + c.v[1], zz = entry[5] + c.v[D - 1];
        const float lxz = xz * x;
        float rest = yy - lxy * xy;
        sure = fminf(sure, fmaf(ROUNDING, yy, rest));
        const float y = 1.0f / fmaxf(rest, c.v[1]);
        const float low = yz - lxy * xz;
        const float lyz = low * y;
        rest = zz - lxz * xz - lyz * low;
        sure = fminf(sure, fmaf(ROUNDING, zz, rest));
        const float r1 = r[1] - lxy * r[0];
        const float r2 = r[D - 1] - lxz * r[0] - lyz * r1;
        z[D - 1] = r2 / fmaxf(rest, c.v[D - 1]);
        z[1] = r1 * y - lyz * z[D - 1];
        z[0] = r[0] * x - lxy * z[1] - lxz * z[D - 1];
        sum[0] = fabsf(xx) + fabsf(xy) + fabsf(xz);
        sum[1] = fabsf(yy) + fabsf(xy) + fabsf(yz);
        sum[D - 1] = fabsf(zz) + fabsf(xz) + fabsf(yz);
    }
    if (!(sure >= 0.0f)) {
        for (int a = 0; a < D; a++) {
            z[a] = r[a] / fmaxf(sum[a], c.v[a]);
        }
    }
}

template <class S, int D, bool VECTOR, bool ADVANCE>
__device__ void inverse(int n, const Vector &diagonal, float alpha, const S *blocks, const S *p, S *x, S *r, S *q,
                        double *parts) {
    double part[2] = {0.0, 0.0};
    EACH_VOXEL(v, n) {
        float rest[D], z[D];
        for (int a = 0; a < D; a++) {
            const Offset at = (Offset)a * n + v;
            rest[a] = load(&r[at]);
            if (ADVANCE) {
                rest[a] = fmaf(-alpha, load(&q[at]), rest[a]);
                store(&r[at], rest[a]);
                store(&x[at], fmaf(alpha, load(&p[at]), load(&x[at])));
            }
        }
        const int entries = VECTOR ? D : D * (D + 1) / 2;
        float entry[D * (D + 1) / 2];
        for (int k = 0; k < entries; k++) {
            entry[k] = load(&blocks[(Offset)k * n + v]);
        }
        if (VECTOR) {
            solve_vector<D>(entry, diagonal, rest, z);
        } else {
            solve_packed<D>(entry, diagonal, rest, z);
        }
        float rz = 0.0f, rr = 0.0f;
        for (int a = 0; a < D; a++) {
            store(&q[(Offset)a * n + v], z[a]);
            rz = fmaf(rest[a], z[a], rz);
            rr = fmaf(rest[a], rest[a], rr);
        }
        part[0] += (double)rz;
        part[1] += (double)rr;
    }
    block_sums<2>(part, parts);
}

// Negative where an eigenvalue is below `least`: the smallest of the leading minors of A - least I.
template <int D>
__device__ float margin(const float (&a)[D][D], float least) {
    const float x = a[0][0] - least, y = a[1][1] - least;
    const float minor = x * y - a[0][1] * a[0][1];
    float low = fminf(x, minor);
    if (D == 3) {
        const int z = D - 1;
        const float first = x * a[1][z] - a[0][1] * a[0][z];
        const float second = a[0][1] * a[1][z] - y * a[0][z];
        low = fminf(low, (a[z][z] - least) * minor - a[1][z] * first + a[0][z] * second);
    }
    return low;
}

// Sweeps of rotations: convergence is quadratic, and five reach double precision.
#define SWEEPS 5

// Turns a symmetric matrix into its eigenvalues, on the diagonal, by Jacobi's rotations; eigenvectors are columns.
template <int D>
__device__ void diagonalise(float (&a)[D][D], float (&vectors)[D][D]) {
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D; j++) {
            vectors[i][j] = i == j ? 1.0f : 0.0f;
        }
    }
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        for (int p = 0; p < D; p++) {
            for (int q = p + 1; q < D; q++) {
                const float gap = a[q][q] - a[p][p], twice = a[p][q] + a[p][q];
                const float root = sqrtf(fmaf(twice, twice, gap * gap));
                // finite where there is nothing to rotate
                const float t = (gap < 0.0f ? -twice : twice) / fmaxf(fabsf(gap) + root, 1e-30f);
                const float c = 1.0f / sqrtf(fmaf(t, t, 1.0f)), s = t * c;
                for (int k = 0; k < D; k++) {
                    const float x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < D; k++) {
                    const float x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                    const float v = vectors[k][p], w = vectors[k][q];
                    vectors[k][p] = c * v - s * w;
                    vectors[k][q] = s * v + c * w;
                }
            }
        }
    }
}

template <class S, int D>
__device__ void bound(int n, const Vector &c, float least, S *blocks) {
    EACH_VOXEL(v, n) {
        float a[D][D], vectors[D][D];
        for (int i = 0; i < D; i++) {
            for (int j = i; j < D; j++) {
                a[i][j] = a[j][i] = load(&blocks[(Offset)packed<D>(i, j) * n + v]);
            }
            a[i][i] += c.v[i];
        }
        if (margin<D>(a, least) >= 0.0f) {
            continue;
        }
        diagonalise<D>(a, vectors);
        for (int i = 0; i < D; i++) {
            for (int j = i; j < D; j++) {
                float sum = i == j ? -c.v[i] : 0.0f;
                for (int e = 0; e < D; e++) {
                    sum = fmaf(fmaxf(fabsf(a[e][e]), least) * vectors[i][e], vectors[j][e], sum);
                }
                store(&blocks[(Offset)packed<D>(i, j) * n + v], sum);
            }
        }
    }
}

#define BOUND(D, storage, S)                                                                                        \
    KERNEL(bound_##storage##_##D, (int n, Vector c, float least, S *blocks), bound<S, D>(n, c, least, blocks))

#define BLOCKS(form, D, VECTOR, storage, S)                                                                         \
    KERNEL(product_##form##_##storage##_##D,                                                                        \
        (Size size, Weights weights, float shift, const S *blocks, const S *p, S *q, double *parts),                \
        product<S, D, VECTOR>(size, weights, shift, blocks, p, q, parts))                                           \
    KERNEL(precondition_##form##_##storage##_##D,                                                                   \
        (int n, Vector diagonal, const S *blocks, S *r, S *z, double *parts),                                       \
        inverse<S, D, VECTOR, false>(n, diagonal, 0.0f, blocks, 0, 0, r, z, parts))                                 \
    KERNEL(advance_##form##_##storage##_##D,                                                                        \
        (int n, Vector diagonal, float alpha, const S *blocks, const S *p, S *x, S *r, S *q, double *parts),        \
        inverse<S, D, VECTOR, true>(n, diagonal, alpha, blocks, p, x, r, q, parts))

#if RANK != 3 && STORAGE != 16
BLOCKS(vector, 2, true, full, float)
BLOCKS(packed, 2, false, full, float)
BOUND(2, full, float)
#endif
#if RANK != 2 && STORAGE != 16
BLOCKS(vector, 3, true, full, float)
BLOCKS(packed, 3, false, full, float)
BOUND(3, full, float)
#endif
#if RANK != 3 && STORAGE != 32
BLOCKS(vector, 2, true, half, Half)
BLOCKS(packed, 2, false, half, Half)
BOUND(2, half, Half)
#endif
#if RANK != 2 && STORAGE != 32
BLOCKS(vector, 3, true, half, Half)
BLOCKS(packed, 3, false, half, Half)
BOUND(3, half, Half)
#endif
