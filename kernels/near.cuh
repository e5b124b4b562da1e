// A field's differences to its neighbours, and vectors and blocks carried to compositive steps by P = I + Du.
//
// Boundary: nothing crosses it; a voxel at the border is its own neighbour, and derivatives are one-sided there.

// What the differences at a voxel come to.
template <int D>
struct Near {
    // Weighted squares of the differences forward.
    float energy;
    // The derivative of half the sum of all energies.
    float force[D];
    // P: component, then axis.
    float slope[D][D];
};

template <int D>
__device__ Near<D> near_at(const float *u, const Size &size, int v, const Weights &weights) {
    const int n = voxels<D>(size);
    int index[D];
    place<D>(v, size, index);
    Near<D> near;
    near.energy = 0.0f;
    for (int a = 0; a < D; a++) {
        const float *here = u + (Offset)a * n + v;
        const float middle = here[0];
        float force = 0.0f;
        int stride = 1;
        for (int b = 0; b < D; b++) {
            const bool first = index[b] == 0, last = index[b] == size.n[b] - 1;
            const float back = first ? middle : here[-stride];
            const float ahead = last ? middle : here[stride];
            const float next = ahead - middle, previous = middle - back;
            near.energy = fmaf(next * next, weights.w[a][b], near.energy);
            force = fmaf(previous - next, weights.w[a][b], force);
            const float scale = first || last ? 1.0f : 0.5f;
            near.slope[a][b] = fmaf(ahead - back, scale, a == b ? 1.0f : 0.0f);
            stride *= size.n[b];
        }
        near.force[a] = force;
    }
    return near;
}

// P' v, in place.
template <int D>
__device__ void pull(const float (&p)[D][D], float (&v)[D]) {
    float out[D];
    for (int b = 0; b < D; b++) {
        float sum = p[0][b] * v[0];
        for (int a = 1; a < D; a++) {
            sum = fmaf(p[a][b], v[a], sum);
        }
        out[b] = sum;
    }
    for (int b = 0; b < D; b++) {
        v[b] = out[b];
    }
}

// P' B P of a packed symmetric block, in place.
template <int D>
__device__ void pull_block(const float (&p)[D][D], float (&block)[D * (D + 1) / 2]) {
    float half[D][D];
    for (int a = 0; a < D; a++) {
        for (int k = 0; k < D; k++) {
            half[a][k] = block[packed<D>(a, k)];
        }
        pull<D>(p, half[a]);
    }
    for (int b = 0; b < D; b++) {
        float column[D];
        for (int a = 0; a < D; a++) {
            column[a] = half[a][b];
        }
        pull<D>(p, column);
        for (int a = 0; a <= b; a++) {
            block[packed<D>(a, b)] = column[a];
        }
    }
}
