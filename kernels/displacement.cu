// Composition of displacements, and steps that fold nowhere.
//
//   compose   out(x) = t d(x) + u(x + t d(x))
//   stamp     lowers shares around marked voxels: nothing there, rising to WHOLE over four voxels
//   lead      marks the voxels nearest to the straight way from marked voxels to where a displacement leads
//   portion   shares / WHOLE
//   shorten   d <- d (least + (1 - least) share / WHOLE)
//   blend     u <- f u + (1 - f) s, with f = share / WHOLE
//   pull      g <- P' g and B <- P' B P, with P = I + Du
//
// Layout: fields [rank, ...] in voxels (steps d of one storage or the other), shares and marks [...]. Boundary: u is continued by its nearest value;
// derivatives are one-sided.

// The share of a step that is taken far from folds.
#define WHOLE 255u

// Voxels around a marked one where shares are lowered, along each axis.
#define REACH 3

template <class S, int D>
__device__ void compose(const Frame &frame, Real t, const Real *u, const S *d, Real *out) {
    const int n = voxels<D>(frame.fixed);
    EACH_VOXEL(v, n) {
        Real step[D], p[D];
        for (int a = 0; a < D; a++) {
            step[a] = t * load(&d[(Offset)a * n + v]);
        }
        position<D>(frame, v, step, p);
        const Cell<D> cell = cell_at<D, false>(p, frame.moving);
        for (int a = 0; a < D; a++) {
            const Real *image = u + (Offset)a * n;
            out[(Offset)a * n + v] = step[a] + linear<D>(image, cell, frame).value;
        }
    }
}

template <int D>
__device__ void stamp(const Size &size, const unsigned char *marks, unsigned int *shares) {
    EACH_VOXEL(v, voxels<D>(size)) {
        if (!marks[v]) {
            continue;
        }
        int index[D];
        place<D>(v, size, index);
        const int z = D == 3 ? index[D - 1] : 0;
        for (int dz = D == 3 ? -REACH : 0; dz <= (D == 3 ? REACH : 0); dz++) {
            for (int dy = -REACH; dy <= REACH; dy++) {
                for (int dx = -REACH; dx <= REACH; dx++) {
                    const int i = index[0] + dx, j = index[1] + dy, k = z + dz;
                    if (i < 0 || j < 0 || k < 0 || i >= size.n[0] || j >= size.n[1] || k >= size.n[2]) {
                        continue;
                    }
                    const double distance = sqrt((double)(dx * dx + dy * dy + dz * dz));
                    const double ramp = fmin(fmax(distance - 1.0, 0.0) / REACH, 1.0);
                    atomicMin(&shares[(k * size.n[1] + j) * size.n[0] + i], (unsigned int)(WHOLE * ramp + 0.5));
                }
            }
        }
    }
}

// Places on the way of a voxel, besides its own.
#define PLACES 4

template <int D>
__device__ void lead(const Size &size, const Real *u, const unsigned char *marks, unsigned char *way) {
    const int n = voxels<D>(size);
    EACH_VOXEL(v, n) {
        if (!marks[v]) {
            continue;
        }
        int index[D];
        place<D>(v, size, index);
        for (int k = 0; k <= PLACES; k++) {
            Offset at = 0, stride = 1;
            for (int a = 0; a < D; a++) {
                const double shift = (double)u[(Offset)a * n + v] * k / PLACES;
                // what is not a number stays at the border
                const double held = fmin(fmax(round(index[a] + shift), 0.0), (double)(size.n[a] - 1));
                at += (Offset)held * stride;
                stride *= size.n[a];
            }
            // whoever comes last writes the same
            way[at] = 1;
        }
    }
}

__device__ void of_shares(int n, const unsigned int *shares, Real *out) {
    EACH_VOXEL(v, n) {
        out[v] = (Real)((float)shares[v] / (float)WHOLE);
    }
}

template <class S, int D>
__device__ void shorten(int n, double least, const unsigned int *shares, S *d) {
    EACH_VOXEL(v, n) {
        if (shares[v] < WHOLE) {
            const Real factor = (Real)(least + (1.0 - least) * (shares[v] / (double)WHOLE));
            for (int a = 0; a < D; a++) {
                S *at = &d[(Offset)a * n + v];
                store(at, load(at) * factor);
            }
        }
    }
}

template <int D>
__device__ void blend(int n, const unsigned int *shares, const Real *smoothed, Real *u) {
    EACH_VOXEL(v, n) {
        if (shares[v] < WHOLE) {
            const Real kept = (Real)(shares[v] / (double)WHOLE);
            for (int a = 0; a < D; a++) {
                const Offset at = (Offset)a * n + v;
                u[at] = kept * u[at] + (1.0f - kept) * smoothed[at];
            }
        }
    }
}

template <int D, bool VECTOR>
__device__ void pull_to_steps(const Size &size, const Real *u, Real *gradient, Real *blocks) {
    const int n = voxels<D>(size);
    Weights none;
    for (int a = 0; a < D; a++) {
        for (int b = 0; b < D; b++) {
            none.w[a][b] = 0.0f;
        }
    }
    EACH_VOXEL(v, n) {
        const Near<D> near = near_at<D>(u, size, v, none);
        Real g[D], vector[D], block[D * (D + 1) / 2];
        for (int a = 0; a < D; a++) {
            g[a] = gradient[(Offset)a * n + v];
        }
        pull<D>(near.slope, g);
        for (int a = 0; a < D; a++) {
            gradient[(Offset)a * n + v] = g[a];
        }
        if (VECTOR) {
            for (int a = 0; a < D; a++) {
                vector[a] = blocks[(Offset)a * n + v];
            }
            pull<D>(near.slope, vector);
            for (int a = 0; a < D; a++) {
                blocks[(Offset)a * n + v] = vector[a];
            }
        } else {
            for (int k = 0; k < D * (D + 1) / 2; k++) {
                block[k] = blocks[(Offset)k * n + v];
            }
            pull_block<D>(near.slope, block);
            for (int k = 0; k < D * (D + 1) / 2; k++) {
                blocks[(Offset)k * n + v] = block[k];
            }
        }
    }
}

#define STEPS(D, storage, S)                                                                                        \
    KERNEL(compose_##storage##_##D, (Frame frame, Real t, const Real *u, const S *d, Real *out),                 \
        compose<S, D>(frame, t, u, d, out))                                                                         \
    KERNEL(shorten_##storage##_##D, (int n, double least, const unsigned int *shares, S *d),                        \
        shorten<S, D>(n, least, shares, d))

#define DISPLACEMENT(D)                                                                                             \
    STEPS(D, full, Real)                                                                                           \
    STEPS(D, half, Half)                                                                                            \
    KERNEL(stamp_##D, (Size size, const unsigned char *marks, unsigned int *shares), stamp<D>(size, marks, shares)) \
    KERNEL(lead_##D, (Size size, const Real *u, const unsigned char *marks, unsigned char *way),                    \
        lead<D>(size, u, marks, way))                                                                               \
    KERNEL(blend_##D, (int n, const unsigned int *shares, const Real *smoothed, Real *u),                         \
        blend<D>(n, shares, smoothed, u))                                                                           \
    KERNEL(pull_vector_##D, (Size size, const Real *u, Real *gradient, Real *blocks),                            \
        pull_to_steps<D, true>(size, u, gradient, blocks))                                                          \
    KERNEL(pull_packed_##D, (Size size, const Real *u, Real *gradient, Real *blocks),                            \
        pull_to_steps<D, false>(size, u, gradient, blocks))

KERNEL(portion, (int n, const unsigned int *shares, Real *out), of_shares(n, shares, out))

#if RANK != 3
DISPLACEMENT(2)
#endif
#if RANK != 2
DISPLACEMENT(3)
#endif
