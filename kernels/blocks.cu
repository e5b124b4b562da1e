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
__device__ void product(const Size &size, const Weights &weights, Real shift, const S *blocks, const S *p, S *q,
                        double *parts) {
    const int n = voxels<D>(size);
    double part[1] = {0.0};
    EACH_VOXEL(v, n) {
        int index[D];
        place<D>(v, size, index);
        Real here[D], out[D];
        for (int a = 0; a < D; a++) {
            const S *at = p + (Offset)a * n + v;
            here[a] = load(at);
            Real near = here[a] * shift;
            int stride = 1;
            for (int b = 0; b < D; b++) {
                const Real back = index[b] == 0 ? here[a] : load(at - stride);
                const Real ahead = index[b] == size.n[b] - 1 ? here[a] : load(at + stride);
                near = real::fma((here[a] + here[a]) - (back + ahead), weights.w[a][b], near);
                stride *= size.n[b];
            }
            out[a] = near;
        }
        if (VECTOR) {
            Real j[D], along = 0.0f;
            for (int a = 0; a < D; a++) {
                j[a] = load(&blocks[(Offset)a * n + v]);
                along = real::fma(j[a], here[a], along);
            }
            for (int a = 0; a < D; a++) {
                out[a] = real::fma(j[a], along, out[a]);
            }
        } else {
            for (int a = 0; a < D; a++) {
                for (int b = a; b < D; b++) {
                    const Real entry = load(&blocks[(Offset)packed<D>(a, b) * n + v]);
                    out[a] = real::fma(entry, here[b], out[a]);
                    if (a != b) {
                        out[b] = real::fma(entry, here[a], out[b]);
                    }
                }
            }
        }
        Real form = 0.0f;
        for (int a = 0; a < D; a++) {
            form = real::fma(here[a], out[a], form);
            store(&q[(Offset)a * n + v], out[a]);
        }
        part[0] += (double)form;
    }
    block_sums<1>(part, parts);
}

// (j j' + C)^-1 r with a diagonal C (Sherman-Morrison).
template <int D>
__device__ void solve_vector(const Real *j, const Vector &c, const Real (&r)[D], Real (&z)[D]) {
    Real scaled[D], top = 0.0f, bottom = 1.0f;
    for (int a = 0; a < D; a++) {
        const Real inverse = 1.0f / c.v[a];
        scaled[a] = inverse * j[a];
        z[a] = inverse * r[a];
        top = real::fma(j[a], z[a], top);
        bottom = real::fma(j[a], scaled[a], bottom);
    }
    const Real factor = top / bottom;
    for (int a = 0; a < D; a++) {
        z[a] -= scaled[a] * factor;
    }
}

// A pivot that is negative by more than this share of its diagonal entry is no rounding.
#define ROUNDING ((Real)1e-2)

// (B + C)^-1 r for a packed symmetric block, by elimination: L D L'.
template <int D>
__device__ void solve_packed(const Real *entry, const Vector &c, const Real (&r)[D], Real (&z)[D]) {
    const Real xx = entry[0] + c.v[0], xy = entry[1];
    const Real x = 1.0f / real::max(xx, c.v[0]);
    const Real lxy = xy * x;
    Real sure = xx - 0.5f * c.v[0];
    Real sum[D];
    if (D == 2) {
        const Real yy = entry[2] + c.v[1];
        const Real rest = yy - lxy * xy;
        sure = real::min(sure, real::fma(ROUNDING, yy, rest));
        z[1] = (r[1] - lxy * r[0]) / real::max(rest, c.v[1]);
        z[0] = r[0] * x - lxy * z[1];
        sum[0] = real::abs(xx) + real::abs(xy);
        sum[1] = real::abs(yy) + real::abs(xy);
    } else {
        const Real xz = entry[2], yz = entry[4];
        const Real yy = entry[3] + c.v[1], zz = entry[5] + c.v[D - 1];
        const Real lxz = xz * x;
        Real rest = yy - lxy * xy;
        sure = real::min(sure, real::fma(ROUNDING, yy, rest));
        const Real y = 1.0f / real::max(rest, c.v[1]);
        const Real low = yz - lxy * xz;
        const Real lyz = low * y;
        rest = zz - lxz * xz - lyz * low;
        sure = real::min(sure, real::fma(ROUNDING, zz, rest));
        const Real r1 = r[1] - lxy * r[0];
        const Real r2 = r[D - 1] - lxz * r[0] - lyz * r1;
        z[D - 1] = r2 / real::max(rest, c.v[D - 1]);
        z[1] = r1 * y - lyz * z[D - 1];
        z[0] = r[0] * x - lxy * z[1] - lxz * z[D - 1];
        sum[0] = real::abs(xx) + real::abs(xy) + real::abs(xz);
        sum[1] = real::abs(yy) + real::abs(xy) + real::abs(yz);
        sum[D - 1] = real::abs(zz) + real::abs(xz) + real::abs(yz);
    }
    if (!(sure >= 0.0f)) {
        for (int a = 0; a < D; a++) {
            z[a] = r[a] / real::max(sum[a], c.v[a]);
        }
    }
}

template <class S, int D, bool VECTOR, bool ADVANCE>
__device__ void inverse(int n, const Vector &diagonal, Real alpha, const S *blocks, const S *p, S *x, S *r, S *q,
                        double *parts) {
    double part[2] = {0.0, 0.0};
    EACH_VOXEL(v, n) {
        Real rest[D], z[D];
        for (int a = 0; a < D; a++) {
            const Offset at = (Offset)a * n + v;
            rest[a] = load(&r[at]);
            if (ADVANCE) {
                rest[a] = real::fma(-alpha, load(&q[at]), rest[a]);
                store(&r[at], rest[a]);
                store(&x[at], real::fma(alpha, load(&p[at]), load(&x[at])));
            }
        }
        const int entries = VECTOR ? D : D * (D + 1) / 2;
        Real entry[D * (D + 1) / 2];
        for (int k = 0; k < entries; k++) {
            entry[k] = load(&blocks[(Offset)k * n + v]);
        }
        if (VECTOR) {
            solve_vector<D>(entry, diagonal, rest, z);
        } else {
            solve_packed<D>(entry, diagonal, rest, z);
        }
        Real rz = 0.0f, rr = 0.0f;
        for (int a = 0; a < D; a++) {
            store(&q[(Offset)a * n + v], z[a]);
            rz = real::fma(rest[a], z[a], rz);
            rr = real::fma(rest[a], rest[a], rr);
        }
        part[0] += (double)rz;
        part[1] += (double)rr;
    }
    block_sums<2>(part, parts);
}

// Negative where an eigenvalue is below `least`: the smallest of the leading minors of A - least I.
template <int D>
__device__ Real margin(const Real (&a)[D][D], Real least) {
    const Real x = a[0][0] - least, y = a[1][1] - least;
    const Real minor = x * y - a[0][1] * a[0][1];
    Real low = real::min(x, minor);
    if (D == 3) {
        const int z = D - 1;
        const Real first = x * a[1][z] - a[0][1] * a[0][z];
        const Real second = a[0][1] * a[1][z] - y * a[0][z];
        low = real::min(low, (a[z][z] - least) * minor - a[1][z] * first + a[0][z] * second);
    }
    return low;
}

// Sweeps of rotations: convergence is quadratic, and five reach double precision.
#define SWEEPS 5

// Turns a symmetric matrix into its eigenvalues, on the diagonal, by Jacobi's rotations; eigenvectors are columns.
template <int D>
__device__ void diagonalise(Real (&a)[D][D], Real (&vectors)[D][D]) {
    for (int i = 0; i < D; i++) {
        for (int j = 0; j < D; j++) {
            vectors[i][j] = i == j ? 1.0f : 0.0f;
        }
    }
    for (int sweep = 0; sweep < SWEEPS; sweep++) {
        for (int p = 0; p < D; p++) {
            for (int q = p + 1; q < D; q++) {
                const Real gap = a[q][q] - a[p][p], twice = a[p][q] + a[p][q];
                const Real root = real::sqrt(real::fma(twice, twice, gap * gap));
                // finite where there is nothing to rotate
                const Real t = (gap < 0.0f ? -twice : twice) / real::max(real::abs(gap) + root, (Real)1e-30);
                const Real c = 1.0f / real::sqrt(real::fma(t, t, 1.0f)), s = t * c;
                for (int k = 0; k < D; k++) {
                    const Real x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y;
                    a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < D; k++) {
                    const Real x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y;
                    a[q][k] = s * x + c * y;
                    const Real v = vectors[k][p], w = vectors[k][q];
                    vectors[k][p] = c * v - s * w;
                    vectors[k][q] = s * v + c * w;
                }
            }
        }
    }
}

template <class S, int D>
__device__ void bound(int n, const Vector &c, Real least, S *blocks) {
    EACH_VOXEL(v, n) {
        Real a[D][D], vectors[D][D];
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
                Real sum = i == j ? -c.v[i] : 0.0f;
                for (int e = 0; e < D; e++) {
                    sum = real::fma(real::max(real::abs(a[e][e]), least) * vectors[i][e], vectors[j][e], sum);
                }
                store(&blocks[(Offset)packed<D>(i, j) * n + v], sum);
            }
        }
    }
}

#define BOUND(D, storage, S)                                                                                        \
    KERNEL(bound_##storage##_##D, (int n, Vector c, Real least, S *blocks), bound<S, D>(n, c, least, blocks))

#define BLOCKS(form, D, VECTOR, storage, S)                                                                         \
    KERNEL(product_##form##_##storage##_##D,                                                                        \
        (Size size, Weights weights, Real shift, const S *blocks, const S *p, S *q, double *parts),                \
        product<S, D, VECTOR>(size, weights, shift, blocks, p, q, parts))                                           \
    KERNEL(precondition_##form##_##storage##_##D,                                                                   \
        (int n, Vector diagonal, const S *blocks, S *r, S *z, double *parts),                                       \
        inverse<S, D, VECTOR, false>(n, diagonal, 0.0f, blocks, 0, 0, r, z, parts))                                 \
    KERNEL(advance_##form##_##storage##_##D,                                                                        \
        (int n, Vector diagonal, Real alpha, const S *blocks, const S *p, S *x, S *r, S *q, double *parts),        \
        inverse<S, D, VECTOR, true>(n, diagonal, alpha, blocks, p, x, r, q, parts))

#if RANK != 3 && STORAGE != 16
BLOCKS(vector, 2, true, full, Real)
BLOCKS(packed, 2, false, full, Real)
BOUND(2, full, Real)
#endif
#if RANK != 2 && STORAGE != 16
BLOCKS(vector, 3, true, full, Real)
BLOCKS(packed, 3, false, full, Real)
BOUND(3, full, Real)
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
