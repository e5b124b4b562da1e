// Interpolation of a volume at a position: the inner part of every warp.
//
// Positions are map(x + u(x)), in voxels of the moving grid. Boundary: linear interpolation continues by the nearest
// value, and derivatives are zero along an axis where the position lies beyond the border; cubic interpolation (of
// B-spline coefficients) continues by the mirror image at the border voxels, twice continuously differentiable.

// Sizes of both grids and the map from fixed index, plus displacement, to moving index.
struct Frame {
    Size fixed, moving;
    // Elements between neighbours of the moving volume; 0 along an axis of one voxel.
    int stride[3];
    // Fills up what the alignment of doubles would leave.
    int filler;
    Real matrix[3][3];
    Real offset[3];
};

// A cell of the moving grid and the place within it.
template <int D>
struct Cell {
    int base[D];
    // 0 to 1 within the cell.
    Real part[D];
    // 1 where derivatives follow the position, 0 where it is held, -1 where it was mirrored.
    Real sign[D];
    // Whether the position lies within half a voxel of the moving grid.
    bool near;
};

// The displacement at voxel v; zero where there is none.
template <int D>
__device__ void displacement(const Real *u, int n, int v, Real (&here)[D]) {
    for (int a = 0; a < D; a++) {
        here[a] = u ? u[(Offset)a * n + v] : 0.0f;
    }
}

// The position that voxel v is carried to by the displacement.
template <int D>
__device__ void position(const Frame &frame, int v, const Real (&u)[D], Real (&p)[D]) {
    int index[D];
    place<D>(v, frame.fixed, index);
    for (int a = 0; a < D; a++) {
        Real start = frame.offset[a];
        for (int b = 1; b < D; b++) {
            start += frame.matrix[a][b] * (Real)index[b];
        }
        p[a] = real::fma((Real)index[0] + u[0], frame.matrix[a][0], start);
        for (int b = 1; b < D; b++) {
            p[a] = real::fma(u[b], frame.matrix[a][b], p[a]);
        }
    }
}

template <int D, bool CUBIC>
__device__ Cell<D> cell_at(const Real (&p)[D], const Size &size) {
    Cell<D> cell;
    cell.near = true;
    for (int a = 0; a < D; a++) {
        const Real last = (Real)(size.n[a] - 1);
        cell.near = cell.near && p[a] >= -0.5f && p[a] <= last + 0.5f;
        Real inner = p[a];
        Real turn = 1.0f;
        if (CUBIC) {
            const Real low = real::max(inner, -inner);
            const Real high = 2.0f * last - low;
            inner = real::min(low, high);
            turn = (low == p[a] ? 1.0f : -1.0f) * (inner == low ? 1.0f : -1.0f);
        }
        // the larger of the two first: what is not a number becomes 0, never an index outside
        const Real held = real::min(real::max(inner, 0.0f), last);
        const int before = (int)real::floor(held);
        const int most = size.n[a] > 1 ? size.n[a] - 2 : 0;
        cell.base[a] = before < most ? before : most;
        cell.part[a] = held - (Real)cell.base[a];
        cell.sign[a] = held == inner ? turn : 0.0f;
    }
    return cell;
}

// The cell that voxel v, of n, is carried to by the displacement.
template <int D, bool CUBIC>
__device__ Cell<D> cell_of(const Frame &frame, const Real *u, int n, int v) {
    Real here[D], p[D];
    displacement<D>(u, n, v, here);
    position<D>(frame, v, here, p);
    return cell_at<D, CUBIC>(p, frame.moving);
}

// A value with its gradient and packed second derivatives by the position.
template <int D>
struct Sampled {
    Real value;
    Real slope[D];
    Real bend[D * (D + 1) / 2];
};

__device__ Real lerp(Real a, Real b, Real t) {
    return real::fma(t, b - a, a);
}

// Bilinear value of a plane, with its derivatives along x, y and both.
__device__ void plane(const Real *image, int right, int up, Real tx, Real ty, Real (&out)[4]) {
    const Real a = image[0], b = image[right], c = image[up], d = image[up + right];
    const Real low = lerp(a, b, tx), high = lerp(c, d, tx);
    out[0] = lerp(low, high, ty);
    out[1] = lerp(b - a, d - c, ty);
    out[2] = high - low;
    out[3] = (d - c) - (b - a);
}

template <int D>
__device__ Sampled<D> linear(const Real *image, const Cell<D> &cell, const Frame &frame) {
    Offset start = 0;
    for (int a = 0; a < D; a++) {
        start += (Offset)cell.base[a] * frame.stride[a];
    }
    Sampled<D> out;
    for (int k = 0; k < D * (D + 1) / 2; k++) {
        out.bend[k] = 0.0f;
    }
    Real near[4];
    plane(image + start, frame.stride[0], frame.stride[1], cell.part[0], cell.part[1], near);
    if (D == 2) {
        out.value = near[0];
        out.slope[0] = near[1];
        out.slope[1] = near[2];
        out.bend[1] = near[3];
    } else {
        Real far[4];
        plane(image + start + frame.stride[D - 1], frame.stride[0], frame.stride[1], cell.part[0], cell.part[1], far);
        const Real t = cell.part[D - 1];
        out.value = lerp(near[0], far[0], t);
        out.slope[0] = lerp(near[1], far[1], t);
        out.slope[1] = lerp(near[2], far[2], t);
        out.slope[D - 1] = far[0] - near[0];
        out.bend[packed<D>(0, 1)] = lerp(near[3], far[3], t);
        out.bend[packed<D>(0, D - 1)] = far[1] - near[1];
        out.bend[packed<D>(1, D - 1)] = far[2] - near[2];
    }
    return out;
}

// The four weights of a cubic B-spline and their derivatives.
__device__ void spline_weights(Real t, Real (&value)[4], Real (&first)[4]) {
    const Real s = 1.0f - t, t2 = t * t, s2 = s * s;
    value[0] = s2 * s * (Real)(1.0 / 6.0);
    value[1] = real::fma(t2, real::fma(t, 0.5f, -1.0f), (Real)(2.0 / 3.0));
    value[2] = real::fma(s2, real::fma(s, 0.5f, -1.0f), (Real)(2.0 / 3.0));
    value[3] = t2 * t * (Real)(1.0 / 6.0);
    first[0] = s2 * -0.5f;
    first[1] = t * real::fma(t, 1.5f, -2.0f);
    first[2] = s * real::fma(s, -1.5f, 2.0f);
    first[3] = t2 * 0.5f;
}

// The second derivatives of these weights.
__device__ void spline_bends(Real t, Real (&second)[4]) {
    const Real s = 1.0f - t;
    second[0] = s;
    second[1] = real::fma(t, 3.0f, -2.0f);
    second[2] = real::fma(s, 3.0f, -2.0f);
    second[3] = t;
}

// Tap k of a cell that starts at voxel `base`, mirrored at the border voxels.
__device__ int mirrored(int base, int k, int size) {
    int m = base + k - 1;
    m = m < 0 ? -m : m;
    const int other = 2 * (size - 1) - m;
    m = m < other ? m : other;
    return m < 0 ? 0 : m;
}

// Entry k of four that stay in registers: an index that the compiler does not know would put them into memory.
__device__ Real entry(const Real (&of)[4], int k) {
    return k == 0 ? of[0] : k == 1 ? of[1] : k == 2 ? of[2] : of[3];
}

template <int D>
__device__ Sampled<D> cubic(const Real *image, const Cell<D> &cell, const Frame &frame) {
    Real value[D][4], first[D][4], second[D][4];
    for (int a = 0; a < D; a++) {
        spline_weights(cell.part[a], value[a], first[a]);
        spline_bends(cell.part[a], second[a]);
    }
    Offset tap[4];
    for (int k = 0; k < 4; k++) {
        tap[k] = (Offset)mirrored(cell.base[0], k, frame.moving.n[0]) * frame.stride[0];
    }
    Sampled<D> out;
    out.value = 0.0f;
    for (int a = 0; a < D; a++) {
        out.slope[a] = 0.0f;
    }
    for (int k = 0; k < D * (D + 1) / 2; k++) {
        out.bend[k] = 0.0f;
    }
    // not unrolled: sixteen rows at once would take all registers
#pragma unroll 1
    for (int row = 0; row < (D == 3 ? 16 : 4); row++) {
        const int ky = row % 4, kz = row / 4;
        Offset start = (Offset)mirrored(cell.base[1], ky, frame.moving.n[1]) * frame.stride[1];
        if (D == 3) {
            start += (Offset)mirrored(cell.base[D - 1], kz, frame.moving.n[D - 1]) * frame.stride[D - 1];
        }
        Real line = 0.0f, slope = 0.0f, bend = 0.0f;
        for (int kx = 0; kx < 4; kx++) {
            const Real v = image[start + tap[kx]];
            line = real::fma(v, value[0][kx], line);
            slope = real::fma(v, first[0][kx], slope);
            bend = real::fma(v, second[0][kx], bend);
        }
        const Real wy = entry(value[1], ky), wz = D == 3 ? entry(value[D - 1], kz) : 1.0f;
        const Real sy = entry(first[1], ky);
        out.value = real::fma(line, wy * wz, out.value);
        out.slope[0] = real::fma(slope, wy * wz, out.slope[0]);
        out.slope[1] = real::fma(line, sy * wz, out.slope[1]);
        out.bend[0] = real::fma(bend, wy * wz, out.bend[0]);
        out.bend[1] = real::fma(slope, sy * wz, out.bend[1]);
        out.bend[packed<D>(1, 1)] = real::fma(line, entry(second[1], ky) * wz, out.bend[packed<D>(1, 1)]);
        if (D == 3) {
            const int z = D - 1;
            const Real sz = entry(first[z], kz);
            out.slope[z] = real::fma(line, wy * sz, out.slope[z]);
            out.bend[packed<D>(0, z)] = real::fma(slope, wy * sz, out.bend[packed<D>(0, z)]);
            out.bend[packed<D>(1, z)] = real::fma(line, sy * sz, out.bend[packed<D>(1, z)]);
            out.bend[packed<D>(z, z)] = real::fma(line, wy * entry(second[z], kz), out.bend[packed<D>(z, z)]);
        }
    }
    return out;
}

// The value at a cell with its derivatives by the position; what is not used costs nothing.
template <int D, bool CUBIC>
__device__ Sampled<D> sampled(const Real *image, const Cell<D> &cell, const Frame &frame) {
    Sampled<D> out = CUBIC ? cubic<D>(image, cell, frame) : linear<D>(image, cell, frame);
    for (int a = 0; a < D; a++) {
        out.slope[a] *= cell.sign[a];
        for (int b = a; b < D; b++) {
            out.bend[packed<D>(a, b)] *= cell.sign[a] * cell.sign[b];
        }
    }
    return out;
}

// The voxels along axis a that a value is made of, as offsets, with their weights and the derivatives of these by the position:
// two for linear interpolation, four for cubic.
struct Taps {
    Offset at[4];
    Real weight[4], slope[4];
};

template <int D, bool CUBIC>
__device__ Taps taps(const Cell<D> &cell, int a, const Frame &frame) {
    Taps out;
    if (CUBIC) {
        spline_weights(cell.part[a], out.weight, out.slope);
        for (int k = 0; k < 4; k++) {
            out.at[k] = (Offset)mirrored(cell.base[a], k, frame.moving.n[a]) * frame.stride[a];
            out.slope[k] *= cell.sign[a];
        }
    } else {
        for (int k = 0; k < 2; k++) {
            out.at[k] = (Offset)(cell.base[a] + k) * frame.stride[a];
            out.weight[k] = k ? cell.part[a] : 1.0f - cell.part[a];
            out.slope[k] = k ? cell.sign[a] : -cell.sign[a];
        }
    }
    return out;
}

// The step of the position that a step of the displacement makes at voxel v, of n: B q.
template <int D>
__device__ void push_step(const Frame &frame, const Real *step, int n, int v, Real (&out)[D]) {
    for (int a = 0; a < D; a++) {
        out[a] = 0.0f;
        for (int b = 0; b < D; b++) {
            out[a] = real::fma(step[(Offset)b * n + v], frame.matrix[a][b], out[a]);
        }
    }
}

// The gradient by the displacement from that by the position: B' g.
template <int D>
__device__ void pull_gradient(const Frame &frame, const Real (&g)[D], Real (&out)[D]) {
    for (int b = 0; b < D; b++) {
        Real sum = g[0] * frame.matrix[0][b];
        for (int a = 1; a < D; a++) {
            sum = real::fma(g[a], frame.matrix[a][b], sum);
        }
        out[b] = sum;
    }
}

// The packed second derivatives by the displacement from those by the position: B' H B.
template <int D>
__device__ void pull_hessian(const Frame &frame, const Real (&h)[D * (D + 1) / 2], Real (&out)[D * (D + 1) / 2]) {
    Real half[D][D]; // H B
    for (int a = 0; a < D; a++) {
        Real row[D];
        for (int k = 0; k < D; k++) {
            row[k] = h[packed<D>(a, k)];
        }
        pull_gradient<D>(frame, row, half[a]);
    }
    for (int b = 0; b < D; b++) {
        Real column[D], pulled[D];
        for (int a = 0; a < D; a++) {
            column[a] = half[a][b];
        }
        pull_gradient<D>(frame, column, pulled);
        for (int a = 0; a <= b; a++) {
            out[packed<D>(a, b)] = pulled[a];
        }
    }
}
