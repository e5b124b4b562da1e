// A field's differences to its neighbours, and vectors and blocks carried to compositive steps by P = I + Du.
//
// Boundary: nothing crosses it; a voxel at the border is its own neighbour, and derivatives are one-sided there.

// What the differences at a voxel come to.
template <int D>
struct Near {
    // Weighted squares of the differences forward.
    Real energy;
    // The derivative of half the sum of all energies.
    Real force[D];
    // P: component, then axis.
    Real slope[D][D];
};

template <int D>
__device__ Near<D> near_at(const Real *u, const Size &size, int v, const Weights &weights) {
    const int n = voxels<D>(size);
    int index[D];
    place<D>(v, size, index);
    Near<D> near;
    near.energy = 0.0f;
    for (int a = 0; a < D; a++) {
        const Real *here = u + (Offset)a * n + v;
        const Real middle = here[0];
        Real force = 0.0f;
        int stride = 1;
        for (int b = 0; b < D; b++) {
            const bool first = index[b] == 0, last = index[b] == size.n[b] - 1;
            const Real back = first ? middle : here[-stride];
            const Real ahead = last ? middle : here[stride];
            const Real next = ahead - middle, previous = middle - back;
            near.energy = real::fma(next * next, weights.w[a][b], near.energy);
            force = real::fma(previous - next, weights.w[a][b], force);
            const Real scale = first || last ? 1.0f : 0.5f;
            near.slope[a][b] = real::fma(ahead - back, scale, a == b ? 1.0f : 0.0f);
            stride *= size.n[b];
        }
        near.force[a] = force;
    }
    return near;
}

// P' v, in place.
template <int D>
__device__ void pull(const Real (&p)[D][D], Real (&v)[D]) {
    Real out[D];
    for (int b = 0; b < D; b++) {
        Real sum = p[0][b] * v[0];
        for (int a = 1; a < D; a++) {
            sum = real::fma(p[a][b], v[a], sum);
        }
        out[b] = sum;
    }
    for (int b = 0; b < D; b++) {
        v[b] = out[b];
    }
}

// P' B P of a packed symmetric block, in place.
template <int D>
__device__ void pull_block(const Real (&p)[D][D], Real (&block)[D * (D + 1) / 2]) {
    Real half[D][D];
    for (int a = 0; a < D; a++) {
        for (int k = 0; k < D; k++) {
            half[a][k] = block[packed<D>(a, k)];
        }
        pull<D>(p, half[a]);
    }
    for (int b = 0; b < D; b++) {
        Real column[D];
        for (int a = 0; a < D; a++) {
            column[a] = half[a][b];
        }
        pull<D>(p, column);
        for (int a = 0; a <= b; a++) {
            block[packed<D>(a, b)] = column[a];
        }
    }
}
