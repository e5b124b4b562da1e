// The digital criterion of a diffeomorphism: the smallest of the one-sided determinants of I + Du at a voxel and, in 3D,
// of the two diagonal determinants of the cell whose lowest corner the voxel is, halved (Liu et al., IJCV 2024,
// arXiv:2212.06060). A voxel next to a displacement that is not finite counts as minus infinity.
//
//   smallest  the smallest over all voxels
//   folded    marks the voxels where it is not above `least`, and counts them; where there is a displacement from before, not above
//             a fifth of what it was there, or of `least` where it was more
//   central   det(I + Du) by central differences, one-sided at the border
//
// Layout: u [rank, ...] in voxels, marks and determinants [...]. Boundary: one edge stands for both there; only cells inside the grid count.

struct Edge {
    Real c[3];
};

__device__ Edge cross(const Edge &b, const Edge &c) {
    Edge out;
    out.c[0] = b.c[1] * c.c[2] - b.c[2] * c.c[1];
    out.c[1] = b.c[2] * c.c[0] - b.c[0] * c.c[2];
    out.c[2] = b.c[0] * c.c[1] - b.c[1] * c.c[0];
    return out;
}

__device__ Real dot_product(const Edge &a, const Edge &b) {
    return a.c[0] * b.c[0] + a.c[1] * b.c[1] + a.c[2] * b.c[2];
}

// The diagonal determinants of a cell, each 2 for the identity: the smaller one.
__device__ Real diagonals(const Real *here, int n, int right, int up, int over) {
    const int axis[3] = {right, up, over};
    Edge low[3], high[3];
    for (int c = 0; c < 3; c++) {
        const Real *plane = here + (Offset)c * n;
        const Real near = plane[0], far = plane[right + up + over];
        for (int b = 0; b < 3; b++) {
            const Real unit = b == c ? 0.0f : 1.0f;
            low[b].c[c] = plane[right + up + over - axis[b]] - near + unit;
            high[b].c[c] = far - plane[axis[b]] + unit;
        }
    }
    return real::min(dot_product(low[0], cross(low[1], low[2])), dot_product(high[0], cross(high[1], high[2])));
}

template <int D>
__device__ Real corners(const Size &size, const Real *u, int v) {
    const int n = voxels<D>(size);
    int index[D], back[3] = {0, 0, 0}, ahead[3] = {0, 0, 0};
    place<D>(v, size, index);
    int stride = 1;
    for (int b = 0; b < D; b++) {
        back[b] = index[b] > 0 ? stride : 0;
        ahead[b] = index[b] < size.n[b] - 1 ? stride : 0;
        stride *= size.n[b];
    }
    // by axis: backward, forward
    Edge edge[3][2];
    for (int b = 0; b < 3; b++) {
        for (int c = 0; c < 3; c++) {
            edge[b][0].c[c] = edge[b][1].c[c] = b == c ? 1.0f : 0.0f;
        }
    }
    for (int b = 0; b < D; b++) {
        for (int c = 0; c < D; c++) {
            const Real *here = u + (Offset)c * n + v;
            const Real unit = b == c ? 1.0f : 0.0f;
            edge[b][0].c[c] = here[0] - here[-back[b]] + unit;
            edge[b][1].c[c] = here[ahead[b]] - here[0] + unit;
        }
        if (!back[b]) {
            edge[b][0] = edge[b][1];
        } else if (!ahead[b]) {
            edge[b][1] = edge[b][0];
        }
    }
    Real low = INFINITY;
    bool finite = true;
    for (int octant = 0; octant < (1 << D); octant++) {
        const Edge normal = cross(edge[1][octant >> 1 & 1], edge[2][octant >> 2 & 1]);
        const Real determinant = dot_product(edge[0][octant & 1], normal);
        finite = finite && determinant - determinant == 0.0f;
        low = real::min(low, determinant);
    }
    if (!finite) {
        return -INFINITY;
    }
    if (D == 3 && ahead[0] && ahead[1] && ahead[2]) {
        // not a number where only a voxel beyond the edges is none: that voxel sees it
        low = real::min(0.5f * diagonals(u + v, n, ahead[0], ahead[1], ahead[2]), low);
    }
    return low;
}

template <int D>
__device__ void smallest(const Size &size, const Real *u, double *parts) {
    __shared__ Real tree[THREADS];
    Real low = INFINITY;
    EACH_VOXEL(v, voxels<D>(size)) {
        low = real::min(low, corners<D>(size, u, v));
    }
    tree[threadIdx.x] = low;
    __syncthreads();
    for (int half = THREADS / 2; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) {
            tree[threadIdx.x] = real::min(tree[threadIdx.x], tree[threadIdx.x + half]);
        }
        __syncthreads();
    }
    if (threadIdx.x == 0) {
        parts[blockIdx.x] = (double)tree[0];
    }
}

template <int D>
__device__ void folded(const Size &size, double least, const Real *before, const Real *u, unsigned char *marks,
                       double *parts) {
    double part[1] = {0.0};
    EACH_VOXEL(v, voxels<D>(size)) {
        const double bound = before ? 0.2 * fmin((double)corners<D>(size, before, v), least) : least;
        const bool folds = !((double)corners<D>(size, u, v) > bound);
        marks[v] = folds ? 1 : 0;
        part[0] += folds ? 1.0 : 0.0;
    }
    block_sums<1>(part, parts);
}

template <int D>
__device__ void central(const Size &size, const Real *u, Real *out) {
    Weights none;
    for (int a = 0; a < 3; a++) {
        for (int b = 0; b < 3; b++) {
            none.w[a][b] = 0.0f;
        }
    }
    EACH_VOXEL(v, voxels<D>(size)) {
        const Near<D> near = near_at<D>(u, size, v, none);
        Edge column[3];
        for (int b = 0; b < 3; b++) {
            for (int a = 0; a < 3; a++) {
                column[b].c[a] = a < D && b < D ? near.slope[a < D ? a : 0][b < D ? b : 0] : (a == b ? 1.0f : 0.0f);
            }
        }
        out[v] = dot_product(column[0], cross(column[1], column[2]));
    }
}

#define JACOBIAN(D)                                                                                                 \
    KERNEL(smallest_##D, (Size size, const Real *u, double *parts), smallest<D>(size, u, parts))                   \
    KERNEL(folded_##D,                                                                                              \
        (Size size, double least, const Real *before, const Real *u, unsigned char *marks, double *parts),          \
        folded<D>(size, least, before, u, marks, parts))                                                            \
    KERNEL(central_##D, (Size size, const Real *u, Real *out), central<D>(size, u, out))

#if RANK != 3
JACOBIAN(2)
#endif
#if RANK != 2
JACOBIAN(3)
#endif
