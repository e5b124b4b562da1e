// The Gauss-Newton system A = blocks + differences + shift, matrix-free.
//
//   product       q = A p, and p' A p
//   precondition  z = M^-1 r with M the block diagonal of A, and r' z, r' r
//   advance       x += alpha p, r -= alpha q, then q = M^-1 r, and r' q, r' r
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
#endif
#if RANK != 2 && STORAGE != 16
BLOCKS(vector, 3, true, full, float)
BLOCKS(packed, 3, false, full, float)
#endif
#if RANK != 3 && STORAGE != 32
BLOCKS(vector, 2, true, half, Half)
BLOCKS(packed, 2, false, half, Half)
#endif
#if RANK != 2 && STORAGE != 32
BLOCKS(vector, 3, true, half, Half)
BLOCKS(packed, 3, false, half, Half)
#endif
