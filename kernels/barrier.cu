// The barrier against folding: with t = J / threshold for each determinant J of the digital criterion (see jacobian.cu),
//
//   B(u) = factor sum_J f(t),  f(t) = -(1 - t)^2 log t below 1, 0 above
//
//   value     the sum, and how many determinants are below the threshold, infinitely many where one is not positive; marks the
//             voxels that own some
//   force     out += grad B
//   product   out += scale C p, and scale p' C p, with C = sum_J f'' grad J grad J' + f' Hess J; without the latter where not `turns`
//   diagonal  adds scale sum_J f'' grad J grad J' of each voxel to packed blocks
//
// A voxel owns the determinants whose right angle lies in it and, in three dimensions, the two diagonal ones of the cell of which it
// is the lowest corner. Every voxel gathers from the marked ones around it: the same bits in every run. Determinants are in doubles.
//
// Layout: u, p and out [rank, ...], marks [...], blocks [components, ...]. Boundary: only determinants inside the grid count; along
// an axis of one voxel the edge is the axis itself.

// A displaced simplex: its vertices as voxels, its edges from the first one, the sign that makes it positive where nothing moves.
struct Simplex {
    int vertex[4];
    double edge[3][3];
    double scale;
};

// Determinants that a voxel owns.
#define OCTANTS 8
#define OWNED(D) (D == 3 ? OCTANTS + 2 : OCTANTS)

// The vertices of determinant k of a voxel and its edges where nothing moves; false where there is none.
template <int D>
__device__ bool simplex_of(const Size &size, const int (&index)[3], int k, Simplex &out) {
    const int stride[3] = {1, size.n[0], size.n[0] * size.n[1]};
    const int here = index[0] + index[1] * stride[1] + index[2] * stride[2];
    if (k < OCTANTS) {
        out.vertex[0] = here;
        out.scale = 1.0;
        for (int a = 0; a < 3; a++) {
            const bool ahead = k >> a & 1;
            const double sign = ahead ? 1.0 : -1.0;
            for (int b = 0; b < 3; b++) {
                out.edge[a][b] = a == b ? sign : 0.0;
            }
            out.scale *= sign;
            out.vertex[a + 1] = here;
            if (size.n[a] == 1) {
                // counted once
                if (!ahead) {
                    return false;
                }
                continue;
            }
            if (ahead ? index[a] + 1 == size.n[a] : index[a] == 0) {
                return false;
            }
            out.vertex[a + 1] += ahead ? stride[a] : -stride[a];
        }
        return true;
    }
    for (int a = 0; a < 3; a++) {
        if (index[a] + 1 >= size.n[a]) {
            return false;
        }
    }
    const bool high = k > OCTANTS;
    const double sign = high ? -1.0 : 1.0;
    const int whole = stride[0] + stride[1] + stride[2];
    out.scale = 0.5 * sign;
    out.vertex[0] = high ? here + whole : here;
    for (int a = 0; a < 3; a++) {
        for (int b = 0; b < 3; b++) {
            out.edge[a][b] = a == b ? 0.0 : sign;
        }
        out.vertex[a + 1] = high ? here + stride[a] : here + whole - stride[a];
    }
    return true;
}

// Adds the differences of a field along the edges.
template <int D, class S>
__device__ void add_differences(const S *p, int n, const int (&vertex)[4], double (&edge)[3][3]) {
    for (int c = 0; c < D; c++) {
        const S *plane = p + (Offset)c * n;
        const double first = (double)load(plane + vertex[0]);
        for (int k = 0; k < 3; k++) {
            edge[k][c] += (double)load(plane + vertex[k + 1]) - first;
        }
    }
}

__device__ void cross(const double (&a)[3], const double (&b)[3], double (&out)[3]) {
    out[0] = a[1] * b[2] - a[2] * b[1];
    out[1] = a[2] * b[0] - a[0] * b[2];
    out[2] = a[0] * b[1] - a[1] * b[0];
}

__device__ double along(const double (&a)[3], const double (&b)[3]) {
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

// A simplex with the derivatives of its determinant by the edges, and those of its penalty by the determinant.
struct Penalty {
    Simplex simplex;
    double normal[3][3];
    double t, slope, bend;
};

// Determinant k of a voxel; false where it costs nothing.
template <int D>
__device__ bool penalty_of(const Size &size, double factor, double threshold, const Real *u, const int (&index)[3], int k,
                           Penalty &out) {
    Simplex &simplex = out.simplex;
    if (!simplex_of<D>(size, index, k, simplex)) {
        return false;
    }
    add_differences<D>(u, voxels<D>(size), simplex.vertex, simplex.edge);
    for (int a = 0; a < 3; a++) {
        cross(simplex.edge[(a + 1) % 3], simplex.edge[(a + 2) % 3], out.normal[a]);
    }
    const double t = simplex.scale * along(simplex.edge[0], out.normal[0]) / threshold;
    out.t = t;
    // what is no number costs: one of them is next to every voxel that is not finite
    if (t >= 1.0) {
        return false;
    }
    const double gap = (1.0 - t) / t;
    out.slope = factor * (1.0 - t) * (2.0 * log(t) - gap) / threshold;
    out.bend = factor * (gap * (gap + 4.0) - 2.0 * log(t)) / (threshold * threshold);
    return true;
}

template <int D>
__device__ void index_of(int v, const Size &size, int (&index)[3]) {
    int some[D];
    place<D>(v, size, some);
    for (int a = 0; a < 3; a++) {
        index[a] = a < D ? some[a < D ? a : 0] : 0;
    }
}

template <int D>
__device__ void value(const Size &size, double factor, double threshold, const Real *u, unsigned char *marks, double *parts) {
    double part[2] = {0.0, 0.0};
    EACH_VOXEL(v, voxels<D>(size)) {
        int index[3];
        index_of<D>(v, size, index);
        bool costs = false;
        for (int k = 0; k < OWNED(D); k++) {
            Penalty penalty;
            if (penalty_of<D>(size, factor, threshold, u, index, k, penalty)) {
                const double t = penalty.t;
                costs = true;
                part[1] += t > 0.0 && t < 1.0 ? 1.0 : (double)INFINITY;
                part[0] -= factor * (1.0 - t) * (1.0 - t) * log(t);
            }
        }
        marks[v] = costs ? 1 : 0;
    }
    block_sums<2>(part, parts);
}

// Calls `work` for each penalty of which voxel v is a vertex.
template <int D, class Work>
__device__ void each_penalty(const Size &size, double factor, double threshold, const Real *u, const unsigned char *marks, int v,
                             Work work) {
    int index[3];
    index_of<D>(v, size, index);
    for (int dz = D == 3 ? -1 : 0; dz <= (D == 3 ? 1 : 0); dz++) {
        for (int dy = -1; dy <= 1; dy++) {
            for (int dx = -1; dx <= 1; dx++) {
                const int owner[3] = {index[0] + dx, index[1] + dy, index[2] + dz};
                bool inside = true;
                for (int a = 0; a < 3; a++) {
                    inside = inside && owner[a] >= 0 && owner[a] < size.n[a];
                }
                if (!inside || !marks[(owner[2] * size.n[1] + owner[1]) * size.n[0] + owner[0]]) {
                    continue;
                }
                for (int k = 0; k < OWNED(D); k++) {
                    Penalty penalty;
                    if (penalty_of<D>(size, factor, threshold, u, owner, k, penalty)) {
                        work(penalty);
                    }
                }
            }
        }
    }
}

// Adds what forces on the edges are on voxel v.
__device__ void add_force(const Simplex &simplex, int v, const double (&force)[3][3], double (&sum)[3]) {
    for (int k = 0; k < 3; k++) {
        const double sign = (simplex.vertex[k + 1] == v ? 1.0 : 0.0) - (simplex.vertex[0] == v ? 1.0 : 0.0);
        for (int c = 0; c < 3; c++) {
            sum[c] += sign * force[k][c];
        }
    }
}

template <int D>
__device__ void force(const Size &size, double factor, double threshold, const Real *u, const unsigned char *marks, Real *out) {
    const int n = voxels<D>(size);
    EACH_VOXEL(v, n) {
        double sum[3] = {0.0, 0.0, 0.0};
        each_penalty<D>(size, factor, threshold, u, marks, v, [&](const Penalty &penalty) {
            const double slope = penalty.simplex.scale * penalty.slope;
            double force[3][3];
            for (int k = 0; k < 3; k++) {
                for (int c = 0; c < 3; c++) {
                    force[k][c] = slope * penalty.normal[k][c];
                }
            }
            add_force(penalty.simplex, v, force, sum);
        });
        for (int c = 0; c < D; c++) {
            Real *at = out + (Offset)c * n + v;
            *at = (Real)((double)*at + sum[c]);
        }
    }
}

template <class S, int D>
__device__ void product(const Size &size, double factor, double threshold, double scale, int turns, const Real *u,
                        const unsigned char *marks, const S *p, S *out, double *parts) {
    const int n = voxels<D>(size);
    double part[1] = {0.0};
    EACH_VOXEL(v, n) {
        double sum[3] = {0.0, 0.0, 0.0};
        each_penalty<D>(size, factor, threshold, u, marks, v, [&](const Penalty &penalty) {
            const Simplex &simplex = penalty.simplex;
            double step[3][3] = {};
            add_differences<D>(p, n, simplex.vertex, step);
            double change = 0.0;
            for (int k = 0; k < 3; k++) {
                change += simplex.scale * along(penalty.normal[k], step[k]);
            }
            const double bend = scale * simplex.scale * penalty.bend * change;
            const double turn = turns ? scale * simplex.scale * penalty.slope : 0.0;
            double force[3][3];
            for (int k = 0; k < 3; k++) {
                const int i = (k + 1) % 3, j = (k + 2) % 3;
                double first[3], second[3];
                cross(step[i], simplex.edge[j], first);
                cross(simplex.edge[i], step[j], second);
                for (int c = 0; c < 3; c++) {
                    force[k][c] = bend * penalty.normal[k][c] + turn * (first[c] + second[c]);
                }
            }
            add_force(simplex, v, force, sum);
        });
        for (int c = 0; c < D; c++) {
            const Offset at = (Offset)c * n + v;
            store(&out[at], (Real)((double)load(&out[at]) + sum[c]));
            part[0] += (double)load(&p[at]) * sum[c];
        }
    }
    block_sums<1>(part, parts);
}

template <class S, int D>
__device__ void diagonal(const Size &size, double factor, double threshold, double scale, const Real *u,
                         const unsigned char *marks, S *blocks) {
    const int n = voxels<D>(size);
    EACH_VOXEL(v, n) {
        double sum[D * (D + 1) / 2] = {};
        each_penalty<D>(size, factor, threshold, u, marks, v, [&](const Penalty &penalty) {
            const Simplex &simplex = penalty.simplex;
            // the derivative by the voxel; the determinant is linear in each vertex
            double normal[3] = {0.0, 0.0, 0.0};
            for (int k = 0; k < 3; k++) {
                for (int c = 0; c < 3; c++) {
                    const double sign = (simplex.vertex[k + 1] == v ? 1.0 : 0.0) - (simplex.vertex[0] == v ? 1.0 : 0.0);
                    normal[c] += sign * simplex.scale * penalty.normal[k][c];
                }
            }
            for (int a = 0; a < D; a++) {
                for (int b = a; b < D; b++) {
                    sum[packed<D>(a, b)] += scale * penalty.bend * normal[a] * normal[b];
                }
            }
        });
        for (int k = 0; k < D * (D + 1) / 2; k++) {
            S *at = &blocks[(Offset)k * n + v];
            store(at, (Real)((double)load(at) + sum[k]));
        }
    }
}

#define BARRIER(D)                                                                                                  \
    KERNEL(value_##D,                                                                                               \
        (Size size, double factor, double threshold, const Real *u, unsigned char *marks, double *parts),           \
        value<D>(size, factor, threshold, u, marks, parts))                                                         \
    KERNEL(force_##D,                                                                                               \
        (Size size, double factor, double threshold, const Real *u, const unsigned char *marks, Real *out),         \
        force<D>(size, factor, threshold, u, marks, out))

#define CURVATURE(D, storage, S)                                                                                    \
    KERNEL(product_##storage##_##D,                                                                                 \
        (Size size, double factor, double threshold, double scale, int turns, const Real *u,                        \
         const unsigned char *marks, const S *p, S *out, double *parts),                                            \
        product<S, D>(size, factor, threshold, scale, turns, u, marks, p, out, parts))                              \
    KERNEL(diagonal_##storage##_##D,                                                                                \
        (Size size, double factor, double threshold, double scale, const Real *u, const unsigned char *marks,       \
         S *blocks),                                                                                                \
        diagonal<S, D>(size, factor, threshold, scale, u, marks, blocks))

#if RANK != 3 && STORAGE != 16
BARRIER(2)
CURVATURE(2, full, Real)
#endif
#if RANK != 2 && STORAGE != 16
BARRIER(3)
CURVATURE(3, full, Real)
#endif
#if RANK != 3 && STORAGE != 32
CURVATURE(2, half, Half)
#endif
#if RANK != 2 && STORAGE != 32
CURVATURE(3, half, Half)
#endif
